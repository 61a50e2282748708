-- Whether two words may be forms of one: they differ by their last letter alone, or by the one before an s that both end
-- with. A last letter that is doubled makes no other form.
create or replace macro differ_at_end(one, other) as
    left(one, len(one) - 1) = left(other, len(other) - 1)
    or (left(one, len(one) - 1) = other and right(one, 1) <> right(other, 1))
    or (left(other, len(other) - 1) = one and right(one, 1) <> right(other, 1));

create or replace macro is_inflection(one, other) as
    differ_at_end(one, other)
    or (
        regexp_matches(one, '[^s]s$')
        and regexp_matches(other, '[^s]s$')
        and differ_at_end(left(one, len(one) - 1), left(other, len(other) - 1))
    );
