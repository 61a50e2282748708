-- No experiment ran when older decisions were made.
alter table if exists notification_decisions
add column if not exists arms struct(experiment varchar, arm varchar)[];
