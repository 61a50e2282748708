-- A text as it was meant, where shops and exports have wrapped it. Landing rows are cleaned once, as they are read, and only
-- where there is a trace of wrapping.

-- UTF-8 that was read as Windows-1252 or Latin-1: "cafÃ©", "itâ€™s". Only what no language writes is taken for it, so a
-- letter that may stand before such a sign needs more of the same behind it.
create or replace macro with_utf8_read_right(text) as
    list_reduce(
        -- The longest first, as a short one may be a part of it.
        list_transform(list_sort(list_transform(regexp_extract_all(
            text,
            '(?:[ã-ìîï][\x{80}-\x{BF}€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]{2}){2,}'
            || '|ðŸ[\x{80}-\x{BF}€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]{2}'
            || '|â[\x{80}-\x{9F}€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ][\x{80}-\x{BF}€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]'
            || '|ï[»¼½¾¿][\x{80}-\x{BF}€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]'
            || '|(?:[Î-ÑÖ-Û][\x{80}-\x{BF}€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]){2,}'
            || '|[ÂÃ][\x{80}-\x{BF}€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]'
            || '|[ÄÅ][\x{80}-\x{9F}\x{A1}-\x{AA}\x{AC}-\x{BA}\x{BC}-\x{BF}€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]'
            -- The same in lower case.
            || '|[âã](?:[\x{A1}-\x{A9}\x{AC}-\x{B9}\x{BC}-\x{BF}]|[«»][a-z])'
        ), lambda found: {'shortness': -length(found), 'found': found})), lambda each: each.found),
        lambda whole, found: replace(
            whole,
            found,
            decode(unhex(array_to_string(
                list_transform(
                    string_split(
                        if(length(found) = 2 or found[3] between 'a' and 'z', upper(found[1]), found[1]) || found[2:],
                        ''
                    ),
                    lambda sign: printf(
                        '%02x',
                        if(
                            unicode(sign) < 256,
                            unicode(sign),
                            127 + instr('€ ‚ƒ„…†‡ˆ‰Š‹Œ Ž  ‘’“”•–—˜™š›œ žŸ', sign)
                        )
                    )
                ),
                ''
            )))
        ),
        text
    );

-- Entities of HTML, named and by number, those that were escaped twice too; a name that is not known stays.
create or replace macro with_entities_read(text) as
    list_transform(
        [regexp_replace(text, '(?i)&(?: ?amp ?;)+|&amp\b', '&', 'g')],
        lambda plain: list_reduce(
            regexp_extract_all(plain, '(?i)&(?:#[0-9]{1,9};|#x[0-9a-f]{1,6};|[a-z]{2,8}[0-9]{0,2};|(?:nbsp|quot|reg)\b)'),
            lambda whole, found: replace(
                whole,
                found,
                list_transform(
                    [lower(rtrim(found[2:], ';'))],
                    lambda name: coalesce(
                        case
                            when name[1] = '#'
                                -- What is no character is none to be seen.
                                then coalesce(
                                    try(chr(try_cast(if(name[2] = 'x', '0' || name[2:], name[2:]) as integer))), ' '
                                )
                            when name[1:4] in ('nbsp', 'ensp', 'emsp') or name = 'thinsp' then ' '
                            when name in ('shy', 'zwj', 'zwnj', 'lrm', 'rlm', 'reg', 'trade', 'copy') then ''
                        end,
                        map {
                            'lt': '<', 'gt': '>', 'quot': '"', 'apos': '''', 'lsquo': '‘', 'rsquo': '’', 'sbquo': '‚',
                            'ldquo': '“', 'rdquo': '”', 'bdquo': '„', 'laquo': '«', 'raquo': '»', 'ndash': '–',
                            'mdash': '—', 'hellip': '…', 'bull': '•', 'middot': '·', 'times': '×', 'divide': '÷',
                            'deg': '°', 'plusmn': '±', 'frac12': '½', 'frac14': '¼', 'frac34': '¾', 'sup2': '²',
                            'sup3': '³', 'micro': 'µ', 'euro': '€', 'pound': '£', 'yen': '¥', 'cent': '¢',
                            'prime': '′', 'iexcl': '¡', 'iquest': '¿', 'szlig': 'ß', 'aelig': 'æ', 'oelig': 'œ',
                            'oslash': 'ø', 'ordm': 'º', 'ordf': 'ª', 'lsaquo': '‹', 'rsaquo': '›', 'hearts': '♥'
                        }[name],
                        -- A letter and its accent.
                        name[1] || chr(map {
                            'acute': 769, 'grave': 768, 'circ': 770, 'tilde': 771, 'uml': 776, 'ring': 778,
                            'cedil': 807, 'caron': 780
                        }[name[2:]]),
                        found
                    )
                )[1]
            ),
            plain
        )
    )[1];

-- Tags of HTML: those within a line without a trace, others as a blank. What only looks like one, as in "a <b and c",
-- stays.
create or replace macro without_tags(text) as
    regexp_replace(
        regexp_replace(
            text,
            '(?i)</?(?:b|i|u|s|a|em|strong|mark|span|font|small|big|sup|sub|wbr)(?:\s+[a-z-]+\s*=[^<>]*)?\s*/?>',
            '',
            'g'
        ),
        '(?is)<!--.*?-->|<!\[CDATA\[|\]\]>|</?(?:br|p|div|h[1-6]|hr|ul|ol|li|dl|dt|dd|table|tbody|thead|tr|td|th|img|center'
        || '|section|article|script|style|iframe|button|input|label|form|blockquote|pre|code)(?:\s+[a-z-]+\s*=[^<>]*)?\s*/?>',
        ' ',
        'g'
    );

-- A query as addresses hold it, caf%C3%A9+table, which has no blank. Of "50%ac" and "c++" nothing is taken for that.
create or replace macro with_percents_read(text) as
    case
        when regexp_full_match(trim(text), '\S*%[0-9A-Fa-f]{2}\S*') then coalesce(try(url_decode(replace(text, '+', ' '))), text)
        when regexp_full_match(trim(text), '[\p{L}\p{N}''.-]+(?:\+[\p{L}\p{N}''.-]+)+') and regexp_matches(text, '\p{L}{3}')
            then replace(text, '+', ' ')
        else text
    end;

-- Read right twice, as some texts were read wrong twice; what could not be read at all is left out.
create or replace macro clean_text(raw_text) as
    without_tags(with_entities_read(with_utf8_read_right(with_utf8_read_right(with_percents_read(replace(raw_text, chr(65533), ''))))));
