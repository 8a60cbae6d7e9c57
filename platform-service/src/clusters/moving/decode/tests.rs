//! Each message as a server sends it, what is cut off, and what a snapshot sees.

use super::*;

fn bytes(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

/// (1, null, a value that stays)
fn tuple() -> Vec<u8> {
    bytes(&[&[0, 3], b"t", &[0, 0, 0, 1], b"1", b"n", b"u"])
}

fn messages() -> Vec<(Vec<u8>, Message)> {
    let id = 16_400_u32;
    let relation = id.to_be_bytes();
    vec![
        (
            bytes(&[
                b"B",
                &[0, 0, 0, 0, 1, 0x57, 0xd8, 0x10],
                &[0; 8],
                &[0, 0, 2, 0xe6],
            ]),
            Message::Begin {
                commit: 0x0157_d810,
                xid: 742,
            },
        ),
        (
            bytes(&[
                b"C",
                &[0],
                &[0; 8],
                &[0, 0, 0, 0, 1, 0x57, 0xd8, 0x40],
                &[0; 8],
            ]),
            Message::Commit { end: 0x0157_d840 },
        ),
        (
            bytes(&[
                b"R",
                &relation,
                b"entries\0",
                b"entry\0",
                b"d",
                &[0, 2],
                &[1],
                b"id\0",
                &[0, 0, 0x0b, 0x86],
                &[0xff; 4],
                &[0],
                b"title\0",
                &[0, 0, 0, 25],
                &[0xff; 4],
            ]),
            Message::Relation(Relation {
                id,
                schema: "entries".to_owned(),
                table: "entry".to_owned(),
                columns: vec![
                    Column {
                        name: "id".to_owned(),
                        part: Part::Key,
                    },
                    Column {
                        name: "title".to_owned(),
                        part: Part::Plain,
                    },
                ],
            }),
        ),
        (
            bytes(&[b"I", &relation, b"N", &tuple()]),
            Message::Insert {
                relation: id,
                new: vec![text("1"), Value::Null, Value::Unchanged],
            },
        ),
        (
            bytes(&[b"U", &relation, b"N", &tuple()]),
            Message::Update {
                relation: id,
                key: None,
                new: vec![text("1"), Value::Null, Value::Unchanged],
            },
        ),
        (
            bytes(&[b"U", &relation, b"K", &tuple(), b"N", &tuple()]),
            Message::Update {
                relation: id,
                key: Some(vec![text("1"), Value::Null, Value::Unchanged]),
                new: vec![text("1"), Value::Null, Value::Unchanged],
            },
        ),
        (
            bytes(&[b"D", &relation, b"K", &tuple()]),
            Message::Delete {
                relation: id,
                key: vec![text("1"), Value::Null, Value::Unchanged],
            },
        ),
        (
            bytes(&[b"T", &[0, 0, 0, 1], &[3], &relation]),
            Message::Truncate {
                relations: vec![id],
                cascade: Cascade::Yes,
                sequences: Sequences::Restart,
            },
        ),
        (bytes(&[b"Y", &[1, 2, 3]]), Message::Other),
    ]
}

#[test]
fn messages_are_read() {
    for (bytes, message) in messages() {
        assert_eq!(decode(&bytes), Ok(message));
    }
}

#[test]
fn what_is_cut_off_or_goes_on_is_refused() {
    for (bytes, message) in messages() {
        if message == Message::Other {
            continue;
        }
        for length in 0..bytes.len() {
            assert_eq!(
                decode(&bytes[..length]),
                Err(Malformed),
                "{message:?} {length}"
            );
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert_eq!(decode(&longer), Err(Malformed), "{message:?}");
    }
    assert_eq!(decode(b"?"), Err(Malformed));
}

#[test]
fn a_snapshot_sees_what_was_committed_before_it() {
    let snapshot: Snapshot = "100:110:103,105".parse().unwrap();
    for (xid, sees) in [
        (3, true),
        (99, true),
        (101, true),
        (103, false),
        (105, false),
    ] {
        assert_eq!(snapshot.sees(xid), sees, "{xid}");
    }
    for xid in [110, 111, 2_000_000_000] {
        assert!(!snapshot.sees(xid), "{xid}");
    }
    assert_eq!("100:100:".parse::<Snapshot>().map(|s| s.sees(99)), Ok(true));
    for text in ["", "1", "1:2", "a:b:", "1:2:x"] {
        assert_eq!(text.parse::<Snapshot>(), Err(Malformed), "{text}");
    }
}

#[test]
fn numbers_that_begin_anew_are_told_apart() {
    // 5 transactions into the second round of 2^32.
    let snapshot: Snapshot = "4294967300:4294967301:".parse().unwrap();
    assert!(snapshot.sees(u32::MAX));
    assert!(snapshot.sees(3));
    assert!(!snapshot.sees(5));
    assert!(!snapshot.sees(6));
}
