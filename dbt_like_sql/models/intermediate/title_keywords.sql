/*
name: title_keywords
grain: one row per as_of, item and keyword
key: [as_of, item_id, keyword]
materialized: snapshot
per: population
partition_column: as_of
owner: team:journeys
group: inference
description: >
  What titles say of the items that have neither annotations nor interests, as of a day: up to four phrases of one to
  three words that recur in the titles of such items, or else the longest part of the title. No rows where every item
  has annotations or interests.
*/
with untagged as (
    select distinct item_id
    from items
    where arrival_day <= $as_of and not has_letters(annotations) and not has_letters(interests)
),

titles as (
    -- The version that stg_items has of the day; of a catalogue with tags, nothing is left to be put in order.
    select item_id, title
    from items
    semi join untagged using (item_id)
    where arrival_day <= $as_of
    qualify row_number() over (
            partition by item_id order by arrival_day desc, title desc, annotations desc, interests desc
        ) = 1
        and not has_letters(annotations)
        and not has_letters(interests)
),

-- Punctuation, numbers and sizes part what is on both sides of them.
tokens as (
    select
        item_id,
        list_transform(
            regexp_extract_all(
                normalize_keyword(title), '[\p{L}\p{N}][\p{L}\p{M}\p{N}''’-]*|[^\p{L}\p{M}\p{N}\s]+'
            ),
            lambda token: if(token = '&' or regexp_matches(token, '^\p{L}'), rtrim(token, '-''’'), '|')
        ) as words
    from titles
),

words as (
    select item_id, following[1] as place, following[2] as word, following[3] as second, following[4] as third
    from (
        select item_id, unnest(list_zip(range(1, len(words) + 1), words, words[2:], words[3:])) as following
        from tokens
    )
    where following[2] <> '|' and not is_function_word(following[2])
),

phrases as (
    select item_id, place, 1 as length, word as phrase
    from words
    union all
    select item_id, place, 2 as length, word || ' ' || second as phrase
    from words
    where second <> '|' and not is_function_word(second)
    union all
    select item_id, place, 3 as length, word || ' ' || second || ' ' || third as phrase
    from words
    where second <> '|' and third <> '|' and not is_function_word(third)
),

recurring as (
    select phrase, count(*) as items, (select count(*) from titles) as titles
    from phrases
    group by phrase, length
    -- Several words that come together twice are a phrase. A word alone has to recur more often, and one of every 200th
    -- title is as good as a function word.
    having items between if(length = 1, 5, 2)
        and if(length = 1, greatest(titles / 200, least(titles / 10, 10)), greatest(titles / 20, least(titles / 2, 10)))
),

-- A phrase of a middling number of titles says most, and one of several words more than one word (Luhn 1958).
scored as (
    select item_id, place, length, phrase, ln(items) * ln(titles / items) * (length + 1) as score
    from phrases
    join recurring using (phrase)
),

-- Of phrases that share words the best stays.
of_words as (
    select
        item_id,
        place,
        length,
        phrase,
        score,
        row_number() over (partition by item_id, word order by score desc, phrase, place) as standing
    from (select *, unnest(range(place, place + length)) as word from scored)
),

chosen as (
    select item_id, phrase, max(score) as score
    from (
        select item_id, place, length, any_value(phrase) as phrase, any_value(score) as score
        from of_words
        group by item_id, place, length
        having max(standing) = 1
    )
    group by item_id, phrase
    qualify row_number() over (partition by item_id order by max(score) desc, phrase) <= 4
),

parts as (
    select item_id, trim(unnest(string_split(array_to_string(words, ' '), '|'))) as part
    from tokens
    anti join chosen using (item_id)
),

keywords as (
    select item_id, phrase as keyword from chosen
    union all
    select item_id, part as keyword
    from parts
    where part <> ''
    qualify row_number() over (partition by item_id order by length(part) desc, part) = 1
)

select
    cast($as_of as date) as as_of, -- day of the snapshot; sees what had arrived by then
    cast($as_of + 1 as date) as valid_until, -- the day after, as item_keywords has it
    cast(item_id as varchar) as item_id, -- the item
    cast(keyword as varchar) as keyword, -- a phrase of its title
    cast(1.0 / count(*) over (partition by item_id) as decimal(9, 6)) as share -- of the item's weight, 0 to 1
from keywords
where is_topic(keyword)
