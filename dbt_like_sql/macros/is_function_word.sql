-- Whether a word joins others and is about nothing itself, in the languages that catalogues are mostly written in.
create or replace macro is_function_word(word) as word in (
    '&', 'a', 'an', 'and', 'as', 'at', 'by', 'for', 'from', 'in', 'into', 'is', 'it', 'its', 'my', 'of', 'on', 'or',
    'our', 'that', 'the', 'this', 'to', 'with', 'w', 'your',
    'am', 'auf', 'aus', 'das', 'den', 'der', 'des', 'die', 'ein', 'eine', 'fur', 'für', 'im', 'mit', 'oder', 'und',
    'von', 'zu', 'zum', 'zur',
    'au', 'aux', 'avec', 'ce', 'd', 'dans', 'de', 'du', 'en', 'et', 'l', 'la', 'le', 'les', 'ou', 'par', 'pour',
    'sur', 'un', 'une',
    'con', 'del', 'e', 'el', 'las', 'los', 'o', 'para', 'por', 'sin', 'y',
    'da', 'di', 'il', 'per', 'een', 'het', 'met', 'van', 'voor'
);
