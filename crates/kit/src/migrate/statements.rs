//! Which statement of a file the server was at, to be named where it fails.
//!
//! Deliberately no parser: it knows what may hold a semicolon (strings, names, dollar quotes,
//! comments), and takes a body in SQL-standard form (`begin atomic`) for several statements.
//! Invariant: what it gives is shown to people and never run.

/// The statement at this place, from 0; statements without a word do not count.
pub(super) fn nth(sql: &str, place: usize) -> Option<&str> {
    let mut rest = sql;
    let mut skipped = 0;
    while !rest.is_empty() {
        let end = statement_end(rest);
        let statement = after_blanks(&rest[..end]);
        if !statement.is_empty() {
            if skipped == place {
                return Some(statement.trim_end());
            }
            skipped += 1;
        }
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    None
}

/// Where the first statement ends: at its semicolon, or at the end of the text.
fn statement_end(sql: &str) -> usize {
    let mut at = 0;
    while let Some(next) = sql[at..].chars().next() {
        let rest = &sql[at..];
        at += match next {
            ';' => return at,
            '\'' => quoted(rest, '\'', escapes(&sql[..at])),
            '"' => quoted(rest, '"', Escapes::None),
            '$' => dollar_quoted(rest),
            _ => comment(rest).unwrap_or(next.len_utf8()),
        };
    }
    sql.len()
}

/// The text without blanks and comments before its first word.
fn after_blanks(sql: &str) -> &str {
    let mut rest = sql.trim_start();
    while let Some(length) = comment(rest) {
        rest = rest[length..].trim_start();
    }
    rest
}

/// Whether a backslash takes away a quote's meaning.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escapes {
    Backslash,
    None,
}

/// Of the string that begins after `before`: `e'...'` has escapes.
fn escapes(before: &str) -> Escapes {
    let mut last = before.chars().rev();
    let is_marked = matches!(last.next(), Some('e' | 'E'));
    let is_alone = last
        .next()
        .is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != '$');
    if is_marked && is_alone {
        Escapes::Backslash
    } else {
        Escapes::None
    }
}

/// The length of what begins and ends with `quote`. A doubled quote ends it and begins the next.
fn quoted(text: &str, quote: char, escapes: Escapes) -> usize {
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        if character == '\\' && escapes == Escapes::Backslash {
            characters.next();
        } else if character == quote {
            return at + quote.len_utf8();
        }
    }
    text.len()
}

/// The length of `$tag$ ... $tag$`, or of a dollar that begins none.
fn dollar_quoted(text: &str) -> usize {
    let inside = &text[1..];
    let Some(tag) = inside.find('$').map(|end| &text[..end + 2]) else {
        return 1;
    };
    let name = &tag[1..tag.len() - 1];
    let is_tag = name.chars().all(|c| c.is_alphanumeric() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    if !is_tag {
        return 1;
    }
    let body = &text[tag.len()..];
    body.find(tag)
        .map_or(text.len(), |end| tag.len() + end + tag.len())
}

/// The length of the comment that begins here.
fn comment(text: &str) -> Option<usize> {
    if text.starts_with("--") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if !text.starts_with("/*") {
        return None;
    }
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        let rest = &text[at..];
        let step = if rest.starts_with("/*") {
            depth += 1;
            2
        } else if rest.starts_with("*/") {
            depth -= 1;
            2
        } else {
            rest.chars().next().map_or(1, char::len_utf8)
        };
        at += step;
        if depth == 0 {
            return Some(at);
        }
    }
    Some(text.len())
}

#[cfg(test)]
mod tests;
