-- Whether any text of a list has a letter in it; numbers, marks and blanks alone say nothing of an item.
create or replace macro has_letters(texts) as len(list_filter(texts, lambda each: regexp_matches(each, '\p{L}'))) > 0;
