-- Whether a normalised text is about something that a person may be in the middle of. Addresses, numbers, codes,
-- formulas, function words alone and the way to a page are not; and nothing that may say who somebody is: addresses of
-- e-mail and of streets, numbers of phones, cards, accounts and orders. In doubt about such a number it is none.

-- Function words alone, in the languages that most texts are in; what a shop calls all the rest; and what is typed to get
-- to a page, to see whether a field works, or into the wrong field.
create or replace macro says_nothing(keyword) as
    regexp_full_match(
        keyword,
        '(?:(?:a|about|above|after|again|all|also|always|am|an|and|any|anyone|anything|are|as|at|be|because|been|before'
        || '|being|below|between|both|but|by|can|cannot|could|did|do|does|doing|done|down|during|each|either|else|etc'
        || '|ever|every|everything|few|for|from|further|get|gets|getting|give|go|got|had|has|have|having|he|hello'
        || '|her|here|hers|hey|hi|him|his|how|however|i|if|im|in|into|is|it|its|just|know|let|like|lot|make'
        || '|many|may|me|might|more|most|much|must|my|myself|near|need|neither|never|no|none|nor|not|nothing|now|of|off'
        || '|ok|okay|on|once|one|only|or|other|others|our|ours|out|over|own|please|put|rather|really|same|see|several'
        || '|shall|she|should|since|so|some|someone|something|such|than|thank|thanks|that|the|their|theirs'
        || '|them|then|there|these|they|thing|things|this|those|through|to|too|under|until|up|us|use|using|very|via'
        || '|want|was|we|well|were|what|whatever|when|where|whether|which|while|who|whom|whose|why|will|with|within'
        || '|without|would|yes|yet|you|your|yours'
        || '|assorted|general|items?|misc|miscellaneous|products?|various'
        || '|der|die|das|dem|den|des|ein|eine|einen|einem|einer|und|oder|aber|nicht|ist|sind|wie|wo|wer|wann|warum|mit'
        || '|ohne|für|von|zu|zum|zur|im|auf|bei|nach|aus|ich|du|er|sie|es|wir|ihr'
        || '|le|la|les|un|une|du|de|et|ou|où|est|que|qui|quoi|comment|pourquoi|pour|dans|sur|avec|sans|je|tu|il|elle'
        || '|nous|vous|ils|mon|ma|mes'
        || '|el|los|las|una|del|y|como|cómo|qué|por|para|con|sin|en|mi|yo'
        || '|(?:ai|are|could|did|do|does|had|has|have|is|should|was|were|wo|would)n''t)'
        || '(?:''(?:d|ll|m|re|s|t|ve))?(?:[ ,.!?'']+|$))+'
        || '|log ?-?(?:in|out|on)|sign ?-?(?:in|up|out)|my (?:account|orders)|(?:forgot|reset) (?:my )?password'
        || '|home ?page|anmelden|einloggen|abmelden|mein konto|connexion|mon compte|iniciar sesión|mi cuenta'
        || '|search|suche|test(?:ing)?(?: ?(?:test|[0-9]))*|n/?a|null|none|nan|undefined|unknown'
        || '|(?:asdf|sdfg|dfgh|qwer|wert|zxcv|yxcv|hjkl|jkl)+[a-z]{0,4}|abc|xyz|foo|localhost'
        || '|select .* from .*|insert into .*|delete from .*|drop table .*'
    );

-- Of e-mail, as it is written, while it is typed, and as people hide it; the names of people on platforms; the web.
create or replace macro is_address(keyword) as
    regexp_matches(
        keyword,
        '\S@|@\S|@$|\S ?[\[(]at[\])] ?\S|\S at \S+ dot \S|%40'
        || '|\bhttps?:|\bftp:|\bmailto:|://|\bwww\.|\blocalhost:|\?\S+=|&\S+=|^/[\w.~-]+/|\b[a-z]:\\'
    )
    or (contains(keyword, '.') and regexp_matches(
        keyword,
        '[^ .]\.(?:com|org|net|edu|gov|mil|info|biz|io|ai|app|dev|shop|store|online|site|blog|xyz|example|invalid|co|uk'
        || '|de|fr|es|nl|eu|ch|pl|cz|ca|au|jp|ru|br|mx|se|dk|(?:co|com|org|ac)\.[a-z]{2})(?:[/:?# ]|\W*$)'
        || '|^[^ .]{2,}\.(?:it|at|be|in|us|me|tv|to|is|no|so|fi|pt|gr|ie|nz|za|ly|gg|fm|test|local)(?:[/:]|$)'
    ));

-- Of a house: a number, and what streets are called in some languages.
create or replace macro is_street(keyword) as
    regexp_matches(
        keyword,
        '\b[0-9]{1,5}[a-z]? (?:[^ 0-9]+ ){1,3}(?:street|avenue|ave|boulevard|blvd|rd)\b'
        || '|\b[0-9]{1,5}[a-z]? (?:[^ 0-9]+ ){1,2}(?:road|lane|highway|st|ln|dr)(?:,| [0-9]{4,}|\.?$)'
    )
    or regexp_matches(
        keyword,
        '(?:straße|strasse|str\.|gasse|allee|platz|weg|straat|gatan) ?[0-9]{1,3} ?[a-z]?(?:\W|$)'
        || '|\b[0-9]{1,4}(?: ?bis| ?ter)?,? (?:rue|avenue|boulevard|bd|chemin|impasse|quai) '
        || '|\b(?:calle|avenida|avda\.?|paseo|carrer|via|viale|rua|ulica|ul\.) (?:[^ 0-9]+ ){1,4}[0-9]{1,4}(?:\W|$)'
    );

-- Seven digits with no more than three signs between each two of them, whatever letters are around, unless they are days
-- or years; fewer of what is called an order or an account; and keys.
create or replace macro has_long_number(keyword) as
    regexp_matches(keyword, '(?:[0-9][ -/:-@\[-`{-~\x{80}-\x{BF}\x{2000}-\x{206F}]{0,3}){6}[0-9]');

create or replace macro is_number_of_something(keyword) as
    case
        when has_long_number(keyword)
            then has_long_number(regexp_replace(
                keyword,
                '(^|\p{L}\p{Nd}?[ ,]+)(?:(?:1[5-9]|20)\d\d-(?:0?[1-9]|1[0-2])-(?:0?[1-9]|[12]\d|3[01])'
                || '|(?:0?[1-9]|[12]\d|3[01])[./](?:0?[1-9]|[12]\d|3[01])[./](?:19|20)\d\d'
                || '|(?:1[5-9]|20)\d\d(?: ?[-–/ ] ?(?:1[5-9]|20)\d\d){1,2})([ ,]+\p{L}|$)',
                '\1x\2',
                'g'
            ))
        else regexp_matches(
            keyword,
            '\b(?:order|invoice|tracking|account|iban|bestellung|bestellnummer|rechnung|konto|kontonummer|kundennummer'
            || '|commande|pedido)(?: ?(?:no|nr|number|num|id|nummer|numéro|número))?[ .:#-]*[a-z]{0,3}-?[0-9]{4,}'
            || '|\b[0-9a-f]{8}-[0-9a-f]{4}-|\b(?:[a-f]+\d+|\d+[a-f]+)[0-9a-f]{12,}'
        )
    end;

create or replace macro is_code(keyword) as
    regexp_matches(
        keyword,
        '[={}\\^`]|</?[a-z!]|\$\(|^select .*\bfrom\b|^(?:insert into|delete from|drop table|create table|alter table) '
        || '|^update \w+ set |\bdrop table\b|\b(?:union|select) all\b|"\s*:|\b(?:sum|if|concat|hyperlink|importxml|webservice'
        || '|vlookup|cmd|eval|alert|print|console\.log)\s*[(|]|\b(?:sin|cos|tan|sqrt|log)\('
    );

-- Most texts are plain words, and need no look for what has signs or numbers.
create or replace macro is_topic(keyword) as
    case
        when regexp_full_match(keyword, '[a-z][a-z]+( [a-z]+)*')
            then not says_nothing(keyword) and not (contains(keyword, ' dot ') and is_address(keyword))
        else
            -- A letter of a script that writes words with few of them says more than another.
            regexp_matches(
                keyword,
                '\p{L}.*[\p{L}0-9]|[0-9].*\p{L}|[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{So}]|\p{L}[+#]'
            )
            and not says_nothing(keyword)
            and not (regexp_matches(keyword, '[@.:/?&%\\(\[]| dot ') and is_address(keyword))
            and not (regexp_matches(keyword, '[0-9]') and (is_number_of_something(keyword) or is_street(keyword)))
            and not is_code(keyword)
    end;
