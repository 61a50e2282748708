-- The one spelling under which texts count as the same keyword: lower case, composed Unicode, single spaces,
-- no quotes or sentence marks at the ends. A text made of such marks alone keeps them.
create or replace macro normalize_keyword(raw_text) as
    regexp_replace(
        trim(regexp_replace(nfc_normalize(lower(raw_text)), '[\s\p{C}\p{Z}]+', ' ', 'g')),
        '^[ .,;:!?…"''“”„‘’‚«»‹›¿¡]*(.*[^ .,;:!?…"''“”„‘’‚«»‹›¿¡])[ .,;:!?…"''“”„‘’‚«»‹›¿¡]*$',
        '\1'
    );
