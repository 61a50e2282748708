-- Stages go by a journey's own rhythm, in months. Older snapshots keep their stages; in how many months their journeys
-- were active was not counted. The chance of a return is stated once, by the ranker.
alter table if exists journey_engagement add column if not exists active_months integer;
alter table if exists stages drop column if exists return_probability;
alter table if exists stages drop column if exists active_weeks_share;
alter table if exists stages add column if not exists active_months_share double;
