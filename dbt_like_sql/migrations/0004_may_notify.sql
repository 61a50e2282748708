-- Journeys that were listed before they were checked may not be notified, until they are inferred anew.
alter table if exists user_journeys add column if not exists may_notify boolean default false;
alter table if exists user_journeys alter column may_notify set not null;
alter table if exists user_journeys alter column may_notify drop default;
