-- The one spelling under which texts count as the same keyword: composed Unicode, lower case, single spaces,
-- no quotes or sentence marks at the ends. A text made of such marks alone stays as it is.
create or replace macro normalize_keyword(raw_text) as
    coalesce(
        nullif(trim(regexp_replace(lower(nfc_normalize(raw_text)), '[\s\p{C}\p{Z}]+', ' ', 'g'), ' .,;:!?"'''), ''),
        trim(lower(nfc_normalize(raw_text)))
    );
