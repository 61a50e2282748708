-- What was left out of a busy user's day.
alter table if exists landed_days add column if not exists rows_over_cap bigint default 0;
alter table if exists landed_days alter column rows_over_cap set not null;
alter table if exists landed_days alter column rows_over_cap drop default;
