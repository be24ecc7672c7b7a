//! The nearest known name, for misspelt keys.

/// The name with the fewest edits from `wrong`, if they are few enough to be a slip.
pub(crate) fn nearest<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let (edits, name) = names.map(|name| (distance(wrong, name), name)).min()?;
    (edits <= wrong.chars().count().max(6) / 2).then_some(name)
}

/// Edits (insert, remove, replace) from one text to the other (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, a) in from.chars().take(128).enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_edits() {
        assert_eq!(distance("listen", "listen"), 0);
        assert_eq!(distance("lisen", "listen"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }

    #[test]
    fn a_text_unlike_every_name_has_no_nearest() {
        assert_eq!(
            nearest("zzzzzzzzzzzz", ["listen", "paths"].into_iter()),
            None
        );
        assert_eq!(
            nearest("lsiten", ["paths", "listen"].into_iter()),
            Some("listen")
        );
    }
}
