-- Keywords that were listed before are shown as they were typed, until their user is inferred anew.
alter table if exists user_journeys alter column keywords
set data type struct(keyword varchar, shown varchar, weight double, sources varchar[], last_seen timestamp)[]
using list_transform(keywords, lambda each: struct_pack(
    keyword := each.keyword,
    shown := each.keyword,
    weight := each.weight,
    sources := each.sources,
    last_seen := each.last_seen
));
alter table if exists safety
add column if not exists respelt_keywords struct(keyword varchar, shown varchar)[] default [];
alter table if exists safety alter column respelt_keywords set not null;
alter table if exists safety alter column respelt_keywords drop default;
