-- What a category code or path says, one part at a time: electronics.audio.headphone, Home > Kitchen, Home/Kitchen,
-- garden :: tools, lawn_mower. A text that is none is its own only part, and so are web addresses, abbreviations (u.s.),
-- versions, numbers and shares (24/7), pronouns and choices (he/she, and/or) and markup. Most texts are plain words, and
-- a look at that is faster than the rest.
create or replace macro category_parts(raw_text) as
    case
        when not regexp_matches(raw_text, '[/.>»›→|\\_]|::|^\s*[a-z]{2}:') then [raw_text]
        -- The language, and then a name without blanks.
        when regexp_full_match(trim(raw_text), '(?:ar|da|de|en|es|fi|fr|it|ja|nl|pl|pt|ru|sv|zh):[\p{L}\p{M}\p{N}-]+')
            then [replace(trim(raw_text)[4:], '-', ' ')]
        when regexp_matches(
            trim(raw_text),
            '(?i)<|^(?:[a-z][a-z0-9+.-]*://|www\.|\S+@\S+$)'
            || '|^(?:[a-z0-9-]+\.)+(?:com|org|net|edu|gov|info|biz|html?|php|jpe?g|png|gif|pdf|[a-z][a-uw-z])(?:[/:?#]\S*)?$'
        ) then [raw_text]
        else list_transform(
            flatten(
                list_transform(
                    regexp_split_to_array(raw_text, '\s*(?:[-=]*>+|[»›→|\\]|::)\s*'),
                    lambda part: case
                        -- Two parts that begin with a short one may be an abbreviation before another word: "ac/dc songs".
                        when regexp_full_match(trim(part), '/?\s*\p{L}[^/]+(?:/\s*\p{L}[^/]+)+/?')
                            and regexp_matches(part, '[^/ ]{4}')
                            and not regexp_matches(part, '(?i)(?:^|/)\s*(?:and|or|und|oder|et|ou)\s*(?:/|$)')
                            and (
                                not regexp_matches(trim(part), '\s')
                                or regexp_matches(part, '^[^/]*[^/ ]{4}')
                                or regexp_matches(part, '^\s*/|\s/\s|/.*/')
                                or not regexp_matches(part, '(?:^|/)\s*[^\p{Lu}\s/]')
                            ) then string_split(part, '/')
                        -- A number within says nothing, and parts all the same.
                        when regexp_full_match(trim(part), '/?\p{L}[^/]+(?:/(?:\p{L}[^/]+|\d+))*/\d+(?:/\p{L}[^/]+)+/?')
                            then string_split(part, '/')
                        when regexp_full_match(trim(part), '(?:\p{L}[\p{L}\p{M}\p{N}_&-]{2,}\.)+\p{L}[\p{L}\p{M}\p{N}_&-]{2,}')
                            or regexp_full_match(
                                trim(part), '(?:\p{L}[\p{L}\p{M}\p{N}_&-]+\.){2,}\p{L}[\p{L}\p{M}\p{N}_&-]+'
                            ) then string_split(part, '.')
                        else [part]
                    end
                )
            ),
            lambda part: replace(part, '_', ' ')
        )
    end;
