-- The one spelling under which texts count as the same keyword: lower case, composed Unicode, one width, digits,
-- quotes and dashes of ASCII, single spaces, no signs of trademarks, no marks in a row, no quotes or sentence marks at
-- the ends, and none in front that a spreadsheet takes for the start of a formula. Of a text made of such marks alone
-- nothing is left.

create or replace macro without_marks_at_ends(text) as
    regexp_replace(text, '^(?:[ .,;:!?…"''“”„‘’‚«»‹›¿¡+-]|@ )+|[ .,;:!?…"''“”„‘’‚«»‹›¿¡]+$', '', 'g');

-- Most texts are plain words with single spaces, and most others have no signs but those of ASCII and letters with
-- accents; a look at that is many times as fast as the rest.
create or replace macro normalize_keyword(raw_text) as
    case
        when regexp_full_match(lower(raw_text), '[a-z0-9]+( [a-z0-9]+)*') then lower(raw_text)
        when regexp_full_match(raw_text, '[ -~\x{C0}-\x{D6}\x{D8}-\x{24F}]*')
            then without_marks_at_ends(regexp_replace(lower(raw_text), '  +|[!?*~_|]{2,} *', ' ', 'g'))
        else without_marks_at_ends(
            regexp_replace(
                -- Characters without a width are within words.
                regexp_replace(
                    translate(
                        nfc_normalize(lower(raw_text)),
                        '！＂＃＄％＆＇（）＊＋，－．／０１２３４５６７８９：；＜＝＞？＠［＼］＾＿｀'
                        || 'ａｂｃｄｅｆｇｈｉｊｋｌｍｎｏｐｑｒｓｔｕｖｗｘｙｚ｛｜｝～　'
                        || '‘’ʼ′“”„″‐‑‒–—−×'
                        || '٠١٢٣٤٥٦٧٨٩۰۱۲۳۴۵۶۷۸۹०१२३४५६७८९০১২৩৪৫৬৭৮৯',
                        '!"#$%&''()*+,-./0123456789:;<=>?@[\]^_`abcdefghijklmnopqrstuvwxyz{|}~ '
                        || '''''''''""""------x'
                        || '0123456789012345678901234567890123456789'
                    ),
                    '[\p{Cf}®™©℠]+', '', 'g'
                ),
                '[\s\p{C}\p{Z}]+|[!?*~_|]{2,}[\s\p{C}\p{Z}]*', ' ', 'g'
            )
        )
    end;
