-- The tables of table version 1, as the code of that version made them. Never changed.
create table if not exists "action_trends" (
    "as_of" DATE not null,
    "action" TEXT not null,
    "events" BIGINT not null,
    "share" DOUBLE not null
);

create table if not exists "board_items" (
    "arrival_day" DATE not null,
    "user_id" VARCHAR not null,
    "board_id" VARCHAR not null,
    "board_name" VARCHAR not null,
    "item_id" VARCHAR not null,
    "occurred_at" TIMESTAMP not null
);

create table if not exists "clusters" (
    "as_of" DATE not null,
    "user_id" VARCHAR not null,
    "keyword" VARCHAR not null,
    "cluster" INTEGER not null,
    "centroid_similarity" DOUBLE not null,
    "neighbour_similarity" DOUBLE not null,
    "scope" VARCHAR not null,
    "algorithm_version" VARCHAR not null
);

create table if not exists "diversification_trade_off" (
    "as_of" DATE not null,
    "strategy" VARCHAR not null,
    "parameter" DOUBLE not null,
    "ndcg" DOUBLE not null,
    "similarity" DOUBLE not null,
    "recommended" BOOLEAN not null
);

create table if not exists "diversified_journeys" (
    "as_of" DATE not null,
    "user_id" VARCHAR not null,
    "journey_id" VARCHAR not null,
    "rank" INTEGER not null,
    "score" DOUBLE not null,
    "rank_before" INTEGER not null,
    "score_before" DOUBLE not null,
    "occurrence" INTEGER not null,
    "scope" VARCHAR not null,
    "algorithm_version" VARCHAR not null
);

create table if not exists "engagements" (
    "arrival_day" DATE not null,
    "user_id" VARCHAR not null,
    "item_id" VARCHAR not null,
    "action" VARCHAR not null,
    "occurred_at" TIMESTAMP not null
);

create table if not exists "human_labels" (
    "arrival_day" DATE not null,
    "user_id" VARCHAR not null,
    "journey_id" VARCHAR not null,
    "grade" INTEGER not null,
    "annotator" VARCHAR not null,
    "occurred_at" TIMESTAMP not null
);

create table if not exists "items" (
    "arrival_day" DATE not null,
    "item_id" VARCHAR not null,
    "title" VARCHAR not null,
    "annotations" VARCHAR[] not null,
    "interests" VARCHAR[] not null
);

create table if not exists "journey_engagement" (
    "as_of" DATE not null,
    "user_id" TEXT not null,
    "journey_id" TEXT not null,
    "keywords" INT not null,
    "weight" DOUBLE not null,
    "cohesion" DOUBLE not null,
    "search_count" BIGINT not null,
    "action_count" BIGINT not null,
    "action_counts" MAP(TEXT, UBIGINT) not null,
    "newest_actions" TEXT[] not null,
    "first_seen" TIMESTAMP not null,
    "last_seen" TIMESTAMP not null,
    "days_active" INT not null,
    "active_weeks" INT not null,
    "scope" TEXT not null,
    "algorithm_version" TEXT not null
);

create table if not exists "journey_features" (
    "as_of" DATE not null,
    "user_id" TEXT not null,
    "journey_id" TEXT not null,
    "user_tenure_days" DOUBLE not null,
    "user_days_since_last" DOUBLE not null,
    "user_active_days" DOUBLE not null,
    "user_active_days_30" DOUBLE not null,
    "user_active_days_90" DOUBLE not null,
    "user_gap_mean" DOUBLE not null,
    "user_keywords" DOUBLE not null,
    "user_journeys" DOUBLE not null,
    "keywords" DOUBLE not null,
    "weight" DOUBLE not null,
    "cohesion" DOUBLE not null,
    "neighbour_distance" DOUBLE not null,
    "active_weeks_share" DOUBLE not null,
    "events_1" DOUBLE not null,
    "events_7" DOUBLE not null,
    "events_30" DOUBLE not null,
    "events_90" DOUBLE not null,
    "searches" DOUBLE not null,
    "engagements" DOUBLE not null,
    "boards" DOUBLE not null,
    "action_counts" DOUBLE[] not null,
    "decayed_events" DOUBLE not null,
    "days_active" DOUBLE not null,
    "days_active_30" DOUBLE not null,
    "days_active_90" DOUBLE not null,
    "days_active_share" DOUBLE not null,
    "days_since_last" DOUBLE not null,
    "days_since_first" DOUBLE not null,
    "gap_mean" DOUBLE,
    "gap_deviation" DOUBLE,
    "gap_longest" DOUBLE,
    "gap_newest" DOUBLE,
    "overdue" DOUBLE,
    "repeated_keywords" DOUBLE not null,
    "most_days_of_keyword" DOUBLE not null,
    "share_7" DOUBLE not null,
    "share_28" DOUBLE not null,
    "share_84" DOUBLE not null,
    "expected_returns" DOUBLE not null,
    "highest_return_rate" DOUBLE not null,
    "scope" TEXT not null,
    "algorithm_version" TEXT not null
);

create table if not exists "journey_identities" (
    "as_of" DATE not null,
    "user_id" VARCHAR not null,
    "cluster" INTEGER not null,
    "journey_id" VARCHAR not null,
    "continued" BOOLEAN not null,
    "overlap" DOUBLE not null,
    "scope" VARCHAR not null,
    "algorithm_version" VARCHAR not null
);

create table if not exists "keyword_embeddings" (
    "model_revision" VARCHAR not null,
    "keyword" VARCHAR not null,
    "embedding" FLOAT[] not null
);

create table if not exists "keyword_trends" (
    "as_of" DATE not null,
    "keyword" TEXT not null,
    "share_7" DOUBLE not null,
    "share_28" DOUBLE not null,
    "share_84" DOUBLE not null,
    "return_rate" DOUBLE not null
);

create table if not exists "keywords" (
    "as_of" DATE not null,
    "user_id" TEXT not null,
    "keyword" TEXT not null,
    "sources" TEXT[] not null,
    "action_counts" MAP(TEXT, UBIGINT) not null,
    "events" BIGINT not null,
    "weight" DOUBLE not null,
    "first_seen" TIMESTAMP not null,
    "last_seen" TIMESTAMP not null,
    "days_active" INT not null,
    "recent_times" TIMESTAMP[] not null,
    "recent_items" TEXT[] not null,
    "scope" TEXT not null,
    "algorithm_version" TEXT not null
);

create table if not exists "landed_days" (
    "arrival_day" DATE not null,
    "source" VARCHAR not null,
    "fingerprint" VARCHAR not null,
    "files" INTEGER not null,
    "unreadable_files" INTEGER not null,
    "rows_read" BIGINT not null,
    "rows_accepted" BIGINT not null,
    "rows_duplicate" BIGINT not null,
    "rows_rejected" BIGINT not null
);

create table if not exists "names" (
    "as_of" DATE not null,
    "user_id" VARCHAR not null,
    "journey_id" VARCHAR not null,
    "name" VARCHAR not null,
    "keyword" VARCHAR not null,
    "centrality" DOUBLE not null,
    "name_score" DOUBLE not null,
    "scope" VARCHAR not null,
    "algorithm_version" VARCHAR not null
);

create table if not exists "naming_model" (
    "as_of" DATE not null,
    "keyword" VARCHAR not null,
    "users" BIGINT not null,
    "centrality" DOUBLE not null,
    "usual" DOUBLE not null
);

create table if not exists "notification_feedback" (
    "arrival_day" DATE not null,
    "user_id" VARCHAR not null,
    "journey_id" VARCHAR not null,
    "channel" VARCHAR not null,
    "event" VARCHAR not null,
    "occurred_at" TIMESTAMP not null
);

create table if not exists "ranking_labels" (
    "label_source" VARCHAR not null,
    "label" FLOAT not null,
    "label_weight" FLOAT not null,
    "labelled_on" DATE not null,
    "days_to_return" INTEGER,
    "read_until" DATE not null,
    "as_of" DATE not null,
    "user_id" TEXT not null,
    "journey_id" TEXT not null,
    "user_tenure_days" FLOAT not null,
    "user_days_since_last" FLOAT not null,
    "user_active_days" FLOAT not null,
    "user_active_days_30" FLOAT not null,
    "user_active_days_90" FLOAT not null,
    "user_gap_mean" FLOAT not null,
    "user_keywords" FLOAT not null,
    "user_journeys" FLOAT not null,
    "keywords" FLOAT not null,
    "weight" FLOAT not null,
    "cohesion" FLOAT not null,
    "neighbour_distance" FLOAT not null,
    "active_weeks_share" FLOAT not null,
    "events_1" FLOAT not null,
    "events_7" FLOAT not null,
    "events_30" FLOAT not null,
    "events_90" FLOAT not null,
    "searches" FLOAT not null,
    "engagements" FLOAT not null,
    "boards" FLOAT not null,
    "action_counts" FLOAT[] not null,
    "decayed_events" FLOAT not null,
    "days_active" FLOAT not null,
    "days_active_30" FLOAT not null,
    "days_active_90" FLOAT not null,
    "days_active_share" FLOAT not null,
    "days_since_last" FLOAT not null,
    "days_since_first" FLOAT not null,
    "gap_mean" FLOAT,
    "gap_deviation" FLOAT,
    "gap_longest" FLOAT,
    "gap_newest" FLOAT,
    "overdue" FLOAT,
    "repeated_keywords" FLOAT not null,
    "most_days_of_keyword" FLOAT not null,
    "share_7" FLOAT not null,
    "share_28" FLOAT not null,
    "share_84" FLOAT not null,
    "expected_returns" FLOAT not null,
    "highest_return_rate" FLOAT not null
);

create table if not exists "ranking_model" (
    "as_of" DATE not null,
    "model_id" VARCHAR not null,
    "promoted" BOOLEAN not null,
    "decision" VARCHAR not null,
    "card" VARCHAR not null,
    "trees" BLOB not null
);

create table if not exists "rankings" (
    "as_of" DATE not null,
    "user_id" VARCHAR not null,
    "journey_id" VARCHAR not null,
    "rank" INTEGER not null,
    "score" DOUBLE not null,
    "confidence" DOUBLE not null,
    "frequency" DOUBLE not null,
    "recency_days" DOUBLE not null,
    "ranker" VARCHAR not null,
    "scope" VARCHAR not null,
    "algorithm_version" VARCHAR not null
);

create table if not exists "rejected_rows" (
    "arrival_day" DATE not null,
    "source" VARCHAR not null,
    "file" VARCHAR not null,
    "row_number" BIGINT,
    "reason" VARCHAR not null,
    "row" VARCHAR
);

create table if not exists "searches" (
    "arrival_day" DATE not null,
    "user_id" VARCHAR not null,
    "query" VARCHAR not null,
    "occurred_at" TIMESTAMP not null
);

create table if not exists "stage_model" (
    "as_of" DATE not null,
    "model_id" VARCHAR not null,
    "promoted" BOOLEAN not null,
    "decision" VARCHAR not null,
    "card" VARCHAR not null
);

create table if not exists "stages" (
    "as_of" DATE not null,
    "user_id" VARCHAR not null,
    "journey_id" VARCHAR not null,
    "lifecycle" VARCHAR not null,
    "stage" VARCHAR not null,
    "stage_model" VARCHAR not null,
    "return_probability" DOUBLE,
    "phase" VARCHAR not null,
    "acting_share" DOUBLE not null,
    "usual_acting_share" DOUBLE not null,
    "span_days" INTEGER not null,
    "active_weeks_share" DOUBLE not null,
    "days_since_last" INTEGER not null,
    "ends_on" DATE not null,
    "evergreen_until" DATE,
    "scope" VARCHAR not null,
    "algorithm_version" VARCHAR not null
);

create table if not exists "user_journeys" (
    "as_of" DATE not null,
    "user_id" TEXT not null,
    "journey_id" TEXT not null,
    "rank" INT not null,
    "name" TEXT not null,
    "keywords" STRUCT(keyword TEXT, weight DOUBLE, sources TEXT[], last_seen TIMESTAMP)[] not null,
    "lifecycle" TEXT not null,
    "stage" TEXT not null,
    "phase" TEXT not null,
    "stage_model" TEXT not null,
    "return_probability" DOUBLE,
    "confidence" DOUBLE not null,
    "score" DOUBLE not null,
    "ranker" TEXT not null,
    "search_count" BIGINT not null,
    "action_count" BIGINT not null,
    "first_seen" TIMESTAMP not null,
    "last_seen" TIMESTAMP not null,
    "ends_on" DATE not null,
    "evergreen_until" DATE,
    "algorithm_version" TEXT not null,
    "scope" TEXT not null
);

create table if not exists "user_snapshots" (
    "as_of" DATE not null,
    "user_id" TEXT not null,
    "journeys" INT not null,
    "scope" TEXT not null,
    "algorithm_version" TEXT not null
);

create table if not exists "users_in_scope" (
    "as_of" DATE not null,
    "user_id" VARCHAR not null,
    "batch" INTEGER not null,
    "scope" VARCHAR not null,
    "algorithm_version" VARCHAR not null
);
