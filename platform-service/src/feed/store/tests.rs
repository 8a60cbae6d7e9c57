//! What a reader is told, by where it stands.

use super::*;

fn window(last_number: u64, numbers: &[u64]) -> Window {
    let changes = numbers
        .iter()
        .map(|number| Change {
            number: *number,
            tenant: "t_acme".parse().unwrap(),
            generation: 1,
            hold: None,
        })
        .collect();
    Window {
        epoch: Uuid::nil(),
        last_number,
        changes,
    }
}

fn told(window: Window, epoch: Option<Uuid>, after: u64) -> (&'static str, u64, usize) {
    match window.answer(epoch, after) {
        Changes::News {
            cursor, changes, ..
        } => ("news", cursor, changes.len()),
        Changes::Reset { cursor, .. } => ("reset", cursor, 0),
    }
}

#[test]
fn where_a_reader_stands_decides() {
    let here = Some(Uuid::nil());
    let elsewhere = Some(Uuid::max());
    for (case, found, expected) in [
        ("nothing new", told(window(7, &[]), here, 7), ("news", 7, 0)),
        ("news", told(window(9, &[8, 9]), here, 7), ("news", 9, 2)),
        (
            "a full window",
            told(window(20, &[8, 9]), here, 7),
            ("news", 9, 2),
        ),
        (
            "an empty registry",
            told(window(0, &[]), here, 0),
            ("news", 0, 0),
        ),
        (
            "no epoch yet",
            told(window(9, &[8, 9]), None, 7),
            ("reset", 9, 0),
        ),
        (
            "another epoch",
            told(window(9, &[8, 9]), elsewhere, 7),
            ("reset", 9, 0),
        ),
        (
            "the next one is pruned",
            told(window(9, &[9]), here, 7),
            ("reset", 9, 0),
        ),
        (
            "all are pruned",
            told(window(9, &[]), here, 7),
            ("reset", 9, 0),
        ),
        (
            "from the future",
            told(window(9, &[]), here, 12),
            ("reset", 9, 0),
        ),
        (
            "beyond all numbers",
            told(window(9, &[]), here, u64::MAX),
            ("reset", 9, 0),
        ),
    ] {
        assert_eq!(found, expected, "{case}");
    }
}
