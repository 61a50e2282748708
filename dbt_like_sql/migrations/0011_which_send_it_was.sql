-- Feedback may name the send that it is about. Of older rows it is found by user, journey, channel and day.
alter table if exists notification_feedback add column if not exists send_id varchar;
