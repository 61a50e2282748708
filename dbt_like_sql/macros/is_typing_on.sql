-- Whether the next text is what is seen of a text while it is typed: as much of it, more, less, or other last letters.
create or replace macro is_typing_on(text, next_text) as
    starts_with(text, next_text) or starts_with(next_text, left(text, greatest(length(text) - 2, 1)));
