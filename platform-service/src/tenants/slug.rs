//! Slugs: which a tenant may have, and which to propose instead.
//!
//! Deliberately pure: whether a candidate is free is asked elsewhere. Invariant: a proposal keeps
//! every rule that a slug has, reserved words included.

use contract::Slug;

/// The longest slug, in bytes.
const MAX_BYTES: usize = 39;
/// Numbered candidates of a proposal: `acme-2` to `acme-9`.
const NUMBERS: std::ops::RangeInclusive<u32> = 2..=9;
/// Digits of the random candidates behind them.
const RANDOM_BYTES: usize = 5;
const RANDOM_CANDIDATES: usize = 4;

/// Words that stand for the platform, for PostgreSQL or for a customary host name. Sorted.
const RESERVED: &[&str] = &[
    "account",
    "accounts",
    "admin",
    "administrator",
    "api",
    "app",
    "assets",
    "auth",
    "billing",
    "blog",
    "cdn",
    "cluster",
    "console",
    "dashboard",
    "default",
    "deleted",
    "demo",
    "dev",
    "docs",
    "ftp",
    "help",
    "imap",
    "internal",
    "localhost",
    "login",
    "mail",
    "metrics",
    "mx",
    "ns1",
    "ns2",
    "operator",
    "ops",
    "platform",
    "pop",
    "postgres",
    "public",
    "registry",
    "root",
    "signup",
    "smtp",
    "staging",
    "static",
    "status",
    "stock",
    "support",
    "system",
    "template",
    "template0",
    "template1",
    "tenant",
    "tenantry",
    "test",
    "tn-data",
    "tn-platform",
    "tn-read",
    "tn-schema",
    "tpl",
    "webmail",
    "www",
];

/// Whether a slug is kept back for the platform.
pub(crate) fn is_reserved(slug: &Slug) -> bool {
    RESERVED.binary_search(&slug.as_str()).is_ok()
}

/// The slug nearest to a text, such as a company's name; none where too little is left of it.
pub(crate) fn derive(text: &str) -> Option<Slug> {
    let mut slug = String::new();
    for letter in text.chars().flat_map(char::to_lowercase) {
        if letter.is_ascii_alphanumeric() {
            slug.push(letter);
        } else if let Some(spelled) = spell(letter) {
            slug.push_str(spelled);
        } else if !slug.ends_with('-') && !slug.is_empty() && !matches!(letter, '\'' | '’' | '.')
        {
            slug.push('-');
        }
    }
    slug.truncate(MAX_BYTES);
    slug.trim_end_matches('-').parse().ok()
}

/// Letters of European languages in plain ones.
fn spell(letter: char) -> Option<&'static str> {
    Some(match letter {
        'à' | 'á' | 'â' | 'ã' | 'å' | 'ā' | 'ă' | 'ą' => "a",
        'ä' | 'æ' => "ae",
        'ç' | 'ć' | 'č' => "c",
        'ď' | 'đ' | 'ð' => "d",
        'è' | 'é' | 'ê' | 'ë' | 'ē' | 'ė' | 'ę' | 'ě' => "e",
        'ğ' | 'ģ' => "g",
        'ì' | 'í' | 'î' | 'ï' | 'ī' | 'į' | 'ı' => "i",
        'ł' | 'ļ' | 'ľ' => "l",
        'ñ' | 'ń' | 'ň' | 'ņ' => "n",
        'ò' | 'ó' | 'ô' | 'õ' | 'ő' | 'ō' => "o",
        'ö' | 'ø' | 'œ' => "oe",
        'ř' => "r",
        'ś' | 'š' | 'ş' | 'ș' => "s",
        'ß' => "ss",
        'ť' | 'ţ' | 'ț' => "t",
        'þ' => "th",
        'ù' | 'ú' | 'û' | 'ů' | 'ű' | 'ū' => "u",
        'ü' => "ue",
        'ý' | 'ÿ' => "y",
        'ź' | 'ż' | 'ž' => "z",
        _ => return None,
    })
}

/// Slugs to propose instead of one, the nicest first.
pub(crate) fn candidates(slug: &Slug) -> Vec<Slug> {
    let numbers = NUMBERS.map(|number| number.to_string());
    let random = (0..RANDOM_CANDIDATES).map(|_| random_suffix());
    numbers
        .chain(random)
        .filter_map(|suffix| with_suffix(slug, &suffix))
        // A long slug that ends in `-2` is its own first candidate.
        .filter(|candidate| candidate != slug && !is_reserved(candidate))
        .collect()
}

fn with_suffix(slug: &Slug, suffix: &str) -> Option<Slug> {
    let room = MAX_BYTES - suffix.len() - 1;
    let stem = slug.as_str();
    let stem = stem[..stem.len().min(room)].trim_end_matches('-');
    format!("{stem}-{suffix}").parse().ok()
}

fn random_suffix() -> String {
    const DIGITS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let bytes: [u8; RANDOM_BYTES] = rand::random();
    bytes
        .iter()
        .map(|byte| char::from(DIGITS[usize::from(byte % 32)]))
        .collect()
}

#[cfg(test)]
mod tests;
