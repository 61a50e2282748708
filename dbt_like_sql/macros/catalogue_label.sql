-- What a catalogue calls something, without what only its own keepers need: remarks in brackets that list things or
-- that were cut off, and words for all the rest. Searches and names of boards are people's own words, and stay.

-- Before a path is parted: a slash in brackets parts nothing, and of a pair of brackets there are two.
create or replace macro without_cut_remarks(label) as
    case
        when not regexp_matches(label, '[()]') then label
        else regexp_replace(
            regexp_replace(
                regexp_replace(label, '(\S.*?)\([^()]*[/>|\\][^()]*\)', '\1 ', 'g'), '(\S[^(]*|.*\))\([^()]*$', '\1'
            ),
            '^([^()]*)\)', '\1 '
        )
    end;

-- Of a normalised label: "misc wine", "berries other" and "vegetables - all others" are wine, berries and vegetables;
-- of "assorted" alone nothing is left.
create or replace macro without_catch_alls(label) as
    case
        when not regexp_matches(label, '\b(?:misc|miscellaneous|assorted|others?|etc|n/a)\b')
            or regexp_matches(label, '\b(?:the|each|every|no|any|some|significant) others?$') then label
        else regexp_replace(
            regexp_replace(
                regexp_replace(
                    regexp_replace(
                        label, '(?:all )?\b(?:misc|miscellaneous|assorted)\b[.,:/&-]* *|\((?:all )?others?\)', '', 'g'
                    ),
                    '^(?:(?:all )?other [,:/&-]*|n/a )', ''
                ),
                '(?: ?[,:/&-]+| )(?: *(?:all|and|or))* *others?$|[ ,]+etc$', ''
            ),
            '^[ ,:/&-]+|[ ,:/&-]+$|\( *\)', '', 'g'
        )
    end;
