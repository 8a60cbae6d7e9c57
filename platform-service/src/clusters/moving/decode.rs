//! The messages of `pgoutput`, protocol version 1: what a logical replication slot gives.
//!
//! Deliberately pure, and only what version 1 sends: begin, commit, relation, insert, update, delete,
//! truncate. Invariant: a message that is not read to its last byte is an error, so that nothing is
//! half-understood.

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    /// A transaction begins: where its commit is, and its number.
    Begin { commit: u64, xid: u32 },
    /// It ends, and the next one begins after this.
    Commit { end: u64 },
    /// What a table that is named next looks like.
    Relation(Relation),
    /// A row is new.
    Insert { relation: u32, new: Vec<Value> },
    /// A row has changed; `key` is what identified it, where that has changed as well.
    Update {
        relation: u32,
        key: Option<Vec<Value>>,
        new: Vec<Value>,
    },
    /// A row is gone.
    Delete { relation: u32, key: Vec<Value> },
    /// All rows are gone.
    Truncate {
        relations: Vec<u32>,
        cascade: Cascade,
        sequences: Sequences,
    },
    /// Something that changes no row.
    Other,
}

/// Whether tables that refer to it are emptied as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cascade {
    Yes,
    No,
}

/// What becomes of the sequences of an emptied table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sequences {
    Restart,
    Continue,
}

/// A table, as its changes name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Relation {
    pub(crate) id: u32,
    pub(crate) schema: String,
    pub(crate) table: String,
    pub(crate) columns: Vec<Column>,
}

/// A column of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) part: Part,
}

/// Whether a column identifies rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Key,
    Plain,
}

/// The value of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    /// A long value that is as it was.
    Unchanged,
    Text(String),
}

/// A message that is not of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a change of the source cannot be read")]
pub(crate) struct Malformed;

type Result<T> = std::result::Result<T, Malformed>;

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| Malformed)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    fn short(&mut self) -> Result<u16> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    fn word(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn long(&mut self) -> Result<u64> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    fn text(&mut self) -> Result<String> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or(Malformed)?;
        let text = std::str::from_utf8(self.take(end)?).map_err(|_| Malformed)?;
        self.byte()?;
        Ok(text.to_owned())
    }

    fn tuple(&mut self) -> Result<Vec<Value>> {
        let columns = self.short()?;
        (0..columns)
            .map(|_| match self.byte()? {
                b'n' => Ok(Value::Null),
                b'u' => Ok(Value::Unchanged),
                b't' => {
                    let length = usize::try_from(self.word()?).map_err(|_| Malformed)?;
                    let text = std::str::from_utf8(self.take(length)?).map_err(|_| Malformed)?;
                    Ok(Value::Text(text.to_owned()))
                }
                _ => Err(Malformed),
            })
            .collect()
    }

    fn new_tuple(&mut self) -> Result<Vec<Value>> {
        match self.byte()? {
            b'N' => self.tuple(),
            _ => Err(Malformed),
        }
    }

    fn relation(&mut self) -> Result<Relation> {
        let (id, schema, table) = (self.word()?, self.text()?, self.text()?);
        let _identity = self.byte()?;
        let columns = (0..self.short()?)
            .map(|_| {
                let part = match self.byte()? & 1 {
                    1 => Part::Key,
                    _ => Part::Plain,
                };
                let name = self.text()?;
                let (_type, _modifier) = (self.word()?, self.word()?);
                Ok(Column { name, part })
            })
            .collect::<Result<_>>()?;
        Ok(Relation {
            id,
            schema,
            table,
            columns,
        })
    }

    fn update(&mut self) -> Result<Message> {
        let relation = self.word()?;
        let (key, new) = match self.byte()? {
            b'N' => (None, self.tuple()?),
            b'K' | b'O' => (Some(self.tuple()?), self.new_tuple()?),
            _ => return Err(Malformed),
        };
        Ok(Message::Update { relation, key, new })
    }

    fn delete(&mut self) -> Result<Message> {
        let relation = self.word()?;
        match self.byte()? {
            b'K' | b'O' => Ok(Message::Delete {
                relation,
                key: self.tuple()?,
            }),
            _ => Err(Malformed),
        }
    }

    fn truncate(&mut self) -> Result<Message> {
        let count = self.word()?;
        let options = self.byte()?;
        let relations = (0..count).map(|_| self.word()).collect::<Result<_>>()?;
        Ok(Message::Truncate {
            relations,
            cascade: match options & 1 {
                1 => Cascade::Yes,
                _ => Cascade::No,
            },
            sequences: match options & 2 {
                2 => Sequences::Restart,
                _ => Sequences::Continue,
            },
        })
    }
}

/// Reads one message.
///
/// # Errors
/// It is not of the protocol.
pub(crate) fn decode(bytes: &[u8]) -> Result<Message> {
    let mut reader = Reader(bytes);
    let message = match reader.byte()? {
        b'B' => {
            let (commit, _time, xid) = (reader.long()?, reader.long()?, reader.word()?);
            Message::Begin { commit, xid }
        }
        b'C' => {
            let (_flags, _commit) = (reader.byte()?, reader.long()?);
            let (end, _time) = (reader.long()?, reader.long()?);
            Message::Commit { end }
        }
        b'R' => Message::Relation(reader.relation()?),
        b'I' => Message::Insert {
            relation: reader.word()?,
            new: reader.new_tuple()?,
        },
        b'U' => reader.update()?,
        b'D' => reader.delete()?,
        b'T' => reader.truncate()?,
        // Types, origins, messages.
        b'Y' | b'O' | b'M' => {
            reader.0 = &[];
            Message::Other
        }
        _ => return Err(Malformed),
    };
    if reader.0.is_empty() {
        Ok(message)
    } else {
        Err(Malformed)
    }
}

/// The transactions that a snapshot sees, as `pg_current_snapshot()` writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    xmin: u64,
    xmax: u64,
    under_way: Vec<u64>,
}

impl std::str::FromStr for Snapshot {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.splitn(3, ':');
        let mut number = || -> Result<u64> {
            parts
                .next()
                .and_then(|part| part.parse().ok())
                .ok_or(Malformed)
        };
        let (xmin, xmax) = (number()?, number()?);
        let list = parts.next().ok_or(Malformed)?;
        let under_way = list
            .split(',')
            .filter(|part| !part.is_empty())
            .map(|part| part.parse().map_err(|_| Malformed))
            .collect::<Result<_>>()?;
        Ok(Self {
            xmin,
            xmax,
            under_way,
        })
    }
}

impl Snapshot {
    /// Whether a committed transaction is part of what the snapshot sees. Numbers of transactions come
    /// with 32 bits: one that is within 2^31 of the snapshot's is meant.
    pub(crate) fn sees(&self, xid: u32) -> bool {
        const SPAN: u64 = 1 << 32;
        let near = (self.xmax & !(SPAN - 1)) | u64::from(xid);
        let full = if near > self.xmax + SPAN / 2 {
            near.saturating_sub(SPAN)
        } else if near + SPAN / 2 < self.xmax {
            near + SPAN
        } else {
            near
        };
        full < self.xmin || (full < self.xmax && !self.under_way.contains(&full))
    }
}

#[cfg(test)]
mod tests;
