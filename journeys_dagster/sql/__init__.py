"""The SQL models of `dbt_like_sql` as data, and their parameters."""
