-- The one spelling under which texts count as the same keyword: lower case, composed Unicode, single spaces,
-- no quotes or sentence marks at the ends. A text made of such marks alone keeps them. Most texts are plain words with
-- single spaces, and a look at that is five times as fast as the rest.
create or replace macro normalize_keyword(raw_text) as
    case
        when regexp_full_match(lower(raw_text), '[a-z0-9]+( [a-z0-9]+)*') then lower(raw_text)
        else regexp_replace(
            trim(regexp_replace(nfc_normalize(lower(raw_text)), '[\s\p{C}\p{Z}]+', ' ', 'g')),
            '^[ .,;:!?…"''“”„‘’‚«»‹›¿¡]*(.*[^ .,;:!?…"''“”„‘’‚«»‹›¿¡])[ .,;:!?…"''“”„‘’‚«»‹›¿¡]*$',
            '\1'
        )
    end;
