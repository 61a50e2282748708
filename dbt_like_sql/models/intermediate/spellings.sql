/*
name: spellings
grain: one row per as_of and word
key: [as_of, word]
materialized: snapshot
partial: [everyone, users_of_keyword, users_of_word, users_of_both]
per: population
partition_column: as_of
owner: team:journeys
group: inference
description: >
  Words that are a letter away from a word that many more people use for the same thing, as of a day, and that word.
  Names are shown in it where no dictionary has the first one; ids and keywords stay as they were typed.
*/
-- For the same thing: more than half of those who have the rare word have the usual one too, three times as many as
-- chance would give; or the keyword with the usual word in its place is one that three times as many users have.
with words as (
    select keyword, share, unnest(list_distinct(string_split(keyword, ' '))) as word
    from (
        -- Decimals add up to the same sum in any order; floats would not.
        select keyword, cast(share_84 as decimal(10, 9)) as share
        from keyword_trends
        where as_of = $as_of
    )
),

-- Who has two keywords with a word counts twice here, so that twice as many are asked for at first; users are counted
-- below, of the words that are left.
shares as (
    select word, sum(share) as share
    from words
    where regexp_full_match(word, '[a-z]{4,30}')
    group by word
),

-- Words that differ by one letter, or by two that changed places, are equal without one letter.
without_letter as (
    select
        word,
        share,
        unnest(list_distinct(
            list_transform(range(len(word)), lambda place: left(word, place) || substr(word, place + 2)) || [word]
        )) as rest
    from shares
),

near as (
    select distinct rare.word, usual.word as shown
    from without_letter as rare
    join without_letter as usual using (rest)
    where len(rare.word) >= 5
        and usual.share >= 2 * rare.share
        and left(rare.word, 1) = left(usual.word, 1)
        and damerau_levenshtein(rare.word, usual.word) = 1
        and not is_inflection(rare.word, usual.word)
),

held as materialized (
    select keyword, word
    from words
    where word in (select word from near union all select shown from near)
),

-- As `keyword_trends` has them.
topics as (
    select hash(query, cast(null as varchar)) as about, keyword
    from (
        select query, normalize_keyword(query) as keyword
        from (select distinct query from stg_events where query is not null and arrival_day <= $as_of)
    )
    semi join held using (keyword)
    union all
    select hash(cast(null as varchar), item_id) as about, keyword
    from item_keywords
    semi join held using (keyword)
    where valid_from <= $as_of and valid_until > $as_of
),

events as materialized (
    select distinct hash(user_id) as user_id, hash(query, item_id) as about
    from stg_events
    where arrival_day <= $as_of
        and cast(occurred_at as date) > $as_of - 84
        and list_contains($action_names, action)
        and (hash(user_id) >> 32) < cast($trend_share * 4294967296 as ubigint)
),

everyone as (
    select count(distinct user_id) as users from events
),

of_user as materialized (
    select distinct user_id, keyword from events join topics using (about)
),

users_of_keyword as materialized (
    select keyword, count(*) as users from of_user group by keyword
),

words_of_user as materialized (
    select distinct user_id, word from of_user join held using (keyword)
),

users_of_word as (
    select word, count(*) as users from words_of_user group by word
),

users_of_both as (
    select word, shown, count(*) as users
    from near
    join words_of_user using (word)
    join words_of_user as others on others.user_id = words_of_user.user_id and others.word = near.shown
    group by word, shown
),

-- The keyword as others write it.
rewritten as (
    select distinct near.word, near.shown
    from near
    join held using (word)
    join users_of_keyword using (keyword)
    join users_of_keyword as others
        on others.keyword = array_to_string(
            list_transform(string_split(held.keyword, ' '), lambda each: if(each = near.word, near.shown, each)), ' '
        )
    where others.users >= greatest(3, 3 * users_of_keyword.users)
),

counted as (
    select
        near.word,
        near.shown,
        users_of_word.users,
        usual.users as shown_users,
        coalesce(users_of_both.users, 0) as both_users,
        rewritten.word is not null as is_rewritten,
        (select users from everyone) as all_users
    from near
    join users_of_word using (word)
    join users_of_word as usual on usual.word = near.shown
    left join users_of_both on users_of_both.word = near.word and users_of_both.shown = near.shown
    left join rewritten on rewritten.word = near.word and rewritten.shown = near.shown
)

select
    cast($as_of as date) as as_of, -- day of the snapshot; sees what had arrived by then
    cast(word as varchar) as word, -- the rare word, as it is written in keywords
    cast(shown as varchar) as shown, -- the word that more people use
    cast(users as bigint) as users, -- who have the rare word, of 84 days
    cast(shown_users as bigint) as shown_users, -- who have the other
    cast(both_users as bigint) as both_users -- who have both
from counted
where shown_users >= greatest(3, 3 * users)
    and (
        is_rewritten
        or (both_users >= 2 and 2 * both_users > users and both_users * all_users >= 3 * users * shown_users)
    )
qualify row_number() over (partition by word order by both_users desc, shown_users desc, shown) = 1
