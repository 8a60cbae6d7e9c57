//! The little of the tar format that an archive needs: plain files, one after the other.
//!
//! Deliberately strict: what another program packed differently is refused, not guessed at. Invariant:
//! what is written here is read by any tar.

use std::io;

/// The unit of the format.
const BLOCK: usize = 512;
/// Bytes of zeros that end an archive.
const END: usize = 2 * BLOCK;
/// What a header can say of a length in octal digits.
const MOST_OCTAL: u64 = 0o77_777_777_777;

/// Header of a file.
pub(super) fn header(name: &str, size_bytes: u64, modified: i64) -> Vec<u8> {
    let mut block = vec![0_u8; BLOCK];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, b"0000600\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, &size(size_bytes));
    put(136, format!("{:011o}\0", modified.max(0)).as_bytes());
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\0");
    put(263, b"00");
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// A length: octal digits, or, where they do not suffice, a big-endian number with the first bit set.
fn size(bytes: u64) -> [u8; 12] {
    let mut field = [0; 12];
    if bytes <= MOST_OCTAL {
        field[..11].copy_from_slice(format!("{bytes:011o}").as_bytes());
    } else {
        field[0] = 0x80;
        field[4..].copy_from_slice(&bytes.to_be_bytes());
    }
    field
}

/// Zeros between the end of a file and the next header.
pub(super) fn padding(size_bytes: u64) -> usize {
    let over = size_bytes % BLOCK as u64;
    if over == 0 { 0 } else { BLOCK - over as usize }
}

/// Zeros that end an archive.
pub(super) const fn end() -> [u8; END] {
    [0; END]
}

/// A file of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) size_bytes: u64,
}

/// Length of a header.
pub(super) const HEADER: usize = BLOCK;

/// Reads a header; none at the end of the archive.
pub(super) fn parse(block: &[u8; BLOCK]) -> io::Result<Option<File>> {
    let bad = |what: &'static str| io::Error::new(io::ErrorKind::InvalidData, what);
    if block.iter().all(|&byte| byte == 0) {
        return Ok(None);
    }
    let text = |field: &[u8]| -> Option<String> {
        let end = field.iter().position(|&byte| byte == 0);
        let text = &field[..end.unwrap_or(field.len())];
        String::from_utf8(text.to_vec()).ok()
    };
    let octal = |field: &[u8]| -> Option<u64> {
        u64::from_str_radix(text(field)?.trim_matches([' ', '\0']), 8).ok()
    };
    let mut summed = *block;
    summed[148..156].fill(b' ');
    let sum: u64 = summed.iter().map(|&byte| u64::from(byte)).sum();
    if &block[257..262] != b"ustar" || octal(&block[148..156]) != Some(sum) {
        return Err(bad("a header is damaged, or it is no tar archive"));
    }
    if !matches!(block[156], b'0' | 0) {
        return Err(bad("an entry is no plain file"));
    }
    let size_bytes = if block[124] & 0x80 == 0 {
        octal(&block[124..136])
    } else {
        block[128..136].try_into().ok().map(u64::from_be_bytes)
    };
    Ok(Some(File {
        name: text(&block[..100]).ok_or_else(|| bad("the name of an entry is no text"))?,
        size_bytes: size_bytes.ok_or_else(|| bad("the length of an entry is no number"))?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(name: &str, size_bytes: u64) -> [u8; BLOCK] {
        header(name, size_bytes, 1_700_000_000).try_into().unwrap()
    }

    #[test]
    fn a_header_says_what_it_was_told() {
        for size_bytes in [0, 1, 512, MOST_OCTAL, MOST_OCTAL + 1, u64::MAX] {
            let name = "database.dump".to_owned();
            let file = parse(&block(&name, size_bytes)).unwrap().unwrap();
            assert_eq!(file, File { name, size_bytes });
        }
        assert_eq!(parse(&[0; BLOCK]).unwrap(), None);
    }

    #[test]
    fn a_changed_header_is_refused() {
        for changed in [0, 124, 130, 148, 156, 257] {
            let mut other = block("manifest.json", 77);
            other[changed] ^= 1;
            assert!(parse(&other).is_err(), "byte {changed}");
        }
    }

    #[test]
    fn files_begin_at_a_block() {
        for (size_bytes, zeros) in [(0, 0), (1, 511), (511, 1), (512, 0), (513, 511)] {
            assert_eq!(padding(size_bytes), zeros);
        }
    }
}
