"""Whether a SELECT computes each user from their own rows alone.

Such a model may be run for some users at a time. One that looks across users would then silently mean something else,
so it is refused, and so is one of which it cannot be told: what is needed of everyone belongs in a model of the
population, which is computed in one query.
"""

from collections.abc import Collection, Iterator, Mapping

from sqlglot import exp
from sqlglot.optimizer.scope import find_all_in_scope

from journeys_dagster.errors import JourneysError

USER = "user_id"
_CHOOSING = ("limit", "offset", "fetch", "sample")


class LooksAcrossUsersError(JourneysError, ValueError, carries_user_text=False):
    """A SELECT that is not per user; the message says where."""


def check_per_user(query: exp.Query, population: Collection[str]) -> None:
    """See that a query gives rows of users, each made from rows of that user and from tables of the population.

    Parameters
    ----------
    population : collection of str
        Tables that a row of any user may depend on. Every other table is taken to hold rows of users.

    Raises
    ------
    LooksAcrossUsersError
        It looks across users, or may do so for all that can be told.
    """
    if not _gives_users(query, dict.fromkeys(population, False)):
        raise LooksAcrossUsersError("it reads no rows of users")


def _gives_users(query: exp.Query, known: Mapping[str, bool], *, is_nested: bool = False) -> bool:
    """Whether a query gives rows of users, after a check that it keeps them apart; else it is of the population.

    `known` says of tables and CTEs whether they hold rows of users; `is_nested` is a query within an expression.
    """
    if (with_ := query.args.get("with_")) is not None:
        if with_.recursive:
            raise _fault("a recursive query is not understood", query)
        for cte in with_.expressions:
            known = {**known, cte.alias: _gives_users(cte.this, known)}
    if isinstance(query, exp.Subquery):
        of_users = _gives_users(query.this, known, is_nested=is_nested)
        if of_users:
            _check_choice(query)
        return of_users
    if isinstance(query, exp.SetOperation):
        return _union_gives_users(query, known)
    relations = dict(_relations(query, known))
    for inner in find_all_in_scope(query, *exp.UNWRAPPED_QUERIES):
        if inner is not query and _gives_users(inner, known, is_nested=True):
            _check_nested(inner)
    if not any(relations.values()):
        return False
    _check_joins(query, relations)
    if not (is_nested and _is_of_one_user(query)):
        _check_choice(query)
        _check_rows(query, relations)
    return True


def _union_gives_users(union: exp.SetOperation, known: Mapping[str, bool]) -> bool:
    left, right = (_gives_users(branch, known) for branch in (union.left, union.right))
    if left != right:
        raise _fault("a union mixes rows of users with others", union)
    if left:
        _check_choice(union)
        places = [
            [place for place, column in enumerate(branch.selects) if column.alias_or_name == USER]
            for branch in (union.left, union.right)
        ]
        if not union.args.get("by_name") and (places[0] != places[1] or not places[0]):
            raise _fault(f"{USER} is not at one place in all parts of a union", union)
    return left


def _relations(select: exp.Query, known: Mapping[str, bool]) -> Iterator[tuple[str, bool]]:
    """What a SELECT reads from, by name, and whether it holds rows of users."""
    from_ = select.args.get("from_")
    joined = [from_, *(select.args.get("joins") or [])] if from_ is not None else []
    for relation in (*(each.this for each in joined), *(select.args.get("laterals") or [])):
        if relation.args.get("joins") or relation.args.get("pivots"):
            raise _fault("a nested join or a pivot is not understood", relation)
        if isinstance(relation, exp.Table):
            of_users = known.get(relation.name, True)
        elif isinstance(relation, exp.Subquery):
            of_users = _gives_users(relation, known)
        elif relation.find(exp.Query) is not None:
            raise _fault("a lateral query is not understood", relation)
        else:
            # A list that is unnested is of the row that it stands in.
            of_users = False
        yield relation.alias_or_name, of_users


def _check_joins(select: exp.Query, relations: Mapping[str, bool]) -> None:
    """See that each relation with rows of users is joined to those before it by the user."""
    from_ = select.args["from_"].this.alias_or_name
    met = relations[from_]
    for join in select.args.get("joins") or []:
        name = join.this.alias_or_name
        if relations[name]:
            by_user = any(column.name == USER for column in join.args.get("using") or []) or any(
                name in sides and all(relations.get(side) for side in sides) and len(set(sides)) == 2
                for sides in _equal_users(join.args.get("on"))
            )
            if met and not by_user:
                raise _fault(f"rows of users are joined to those of others: join them by {USER}", join)
            met = True


def _check_rows(select: exp.Query, relations: Mapping[str, bool]) -> None:
    """See that windows, groups and distinct rows are of one user each."""
    windows = list(find_all_in_scope(select, exp.Window))
    for window in windows:
        if not any(map(_is_user, window.args.get("partition_by") or [])):
            raise _fault(f"a window is over all users: partition it by {USER}", window)
    group = select.args.get("group")
    if group is None:
        of_windows = {id(aggregate) for window in windows for aggregate in window.find_all(exp.AggFunc)}
        for aggregate in find_all_in_scope(select, exp.AggFunc):
            if id(aggregate) not in of_windows:
                raise _fault(f"an aggregate is over all users: group it by {USER}", aggregate)
    elif not group.args.get("all") and not any(map(_is_user, group.expressions)):
        raise _fault(f"rows are grouped across users: group them by {USER} too", group)
    distinct = select.args.get("distinct")
    if distinct is not None and (on := distinct.args.get("on")) is not None and not any(map(_is_user, on.expressions)):
        raise _fault("distinct on chooses among the rows of all users", distinct)
    if not any(_selects_user(projection, relations) for projection in select.selects):
        raise _fault(f"rows of users are read and {USER} is not selected with them", select)


def _check_choice(query: exp.Query) -> None:
    for clause in _CHOOSING:
        if query.args.get(clause) is not None:
            raise _fault(f"{clause} chooses among the rows of all users", query)


def _check_nested(query: exp.Query) -> None:
    """See that a query within an expression, with rows of users, asks for those of the user it is computed for."""
    if isinstance(query, exp.Select) and _is_of_one_user(query):
        return
    around = query.parent
    while isinstance(around, exp.Subquery | exp.Paren):
        around = around.parent
    if isinstance(around, exp.In):
        given = around.this.expressions if isinstance(around.this, exp.Tuple) else [around.this]
        if any(_is_user(one) and _is_user(other) for one, other in zip(given, query.selects, strict=False)):
            return
    raise _fault("a query within an expression reads rows of all users", query)


def _is_of_one_user(select: exp.Query) -> bool:
    """Whether a query within an expression says that its users are those of a relation outside of it."""
    where, from_ = select.args.get("where"), select.args.get("from_")
    if where is None or from_ is None:
        return False
    inside = {relation.this.alias_or_name for relation in (from_, *(select.args.get("joins") or []))}
    return any(
        one in inside and other and other not in inside
        for sides in _equal_users(where.this)
        for one, other in (sides, sides[::-1])
    )


def _equal_users(condition: exp.Expr | None) -> Iterator[tuple[str, str]]:
    """The relations of which a condition, or a part that must hold with the others, says that their users are equal."""
    if condition is None:
        return
    for part in condition.flatten() if isinstance(condition, exp.And) else [condition]:
        sides = (part.left, part.right) if isinstance(part, exp.EQ) else ()
        tables = [side.table for side in sides if isinstance(side, exp.Column) and side.name == USER]
        if len(tables) == 2:
            yield tables[0], tables[1]


def _selects_user(projection: exp.Expr, relations: Mapping[str, bool]) -> bool:
    star = projection.this if isinstance(projection, exp.Column) else projection
    if isinstance(star, exp.Star):
        changed = [
            *(star.args.get("except_") or []),
            *(star.args.get("replace") or []),
            *(star.args.get("rename") or []),
        ]
        is_kept = not any(USER in (column.name, column.alias_or_name) for column in changed)
        return is_kept and (star is projection or relations.get(projection.args["table"].name, False))
    return projection.alias_or_name == USER and _is_user(projection)


def _is_user(expression: exp.Expr) -> bool:
    """Whether an expression is the user as such: not a hash of it, nor anything else that goes by its name."""
    while isinstance(expression, exp.Alias | exp.Cast | exp.Paren):
        expression = expression.this
    return isinstance(expression, exp.Column) and expression.name == USER


def _fault(what: str, where: exp.Expr) -> LooksAcrossUsersError:
    text = where.sql(dialect="duckdb", comments=False)
    return LooksAcrossUsersError(f"{what}: {text if len(text) <= 120 else f'{text[:120]} …'}")
