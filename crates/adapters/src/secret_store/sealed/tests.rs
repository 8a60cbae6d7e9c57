//! Rules of the box and of the key ring: what opens, and that nothing else does.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use contract::secret::{Secret, SecretRef};
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::{InvalidKeyRing, KeyRing, PREFIX, SealedStore};
use crate::secret_store::{ClusterRole, SecretError, SecretSubject};

fn key(byte: u8) -> String {
    STANDARD.encode([byte; 32])
}

fn store(ring: &str) -> SealedStore {
    SealedStore::new(KeyRing::parse(ring).unwrap())
}

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

fn tenant(id: &str) -> SecretSubject {
    SecretSubject::Tenant(id.parse().unwrap())
}

#[test]
fn an_older_key_still_opens_and_the_first_seals() {
    let subject = tenant("t_acme");
    let before = store(&format!("k1:{}", key(1)));
    let old = before.put(&subject, &secret("one")).unwrap();
    let after = store(&format!("k2:{}, k1:{}", key(2), key(1)));
    let new = after.put(&subject, &secret("two")).unwrap();
    assert!(new.0.starts_with("sealed:v1:k2:"));
    assert_eq!(after.open(&subject, &old).unwrap().expose(), "one");
    assert_eq!(after.open(&subject, &new).unwrap().expose(), "two");
    assert_eq!(
        before.open(&subject, &new).unwrap_err(),
        SecretError::UnknownKey {
            key_id: "k2".to_owned()
        }
    );
}

#[test]
fn a_box_moves_to_the_first_key_once_and_for_its_subject_alone() {
    let subject = tenant("t_acme");
    let old = store(&format!("k1:{}", key(1)))
        .put(&subject, &secret("one"))
        .unwrap();
    let both = store(&format!("k2:{},k1:{}", key(2), key(1)));
    assert_eq!(both.key_ids(), ["k2", "k1"]);
    let new = both.reseal(&subject, &old).unwrap().unwrap();
    assert!(new.0.starts_with("sealed:v1:k2:"));
    let after = store(&format!("k2:{}", key(2)));
    assert_eq!(after.open(&subject, &new).unwrap().expose(), "one");
    assert_eq!(both.reseal(&subject, &new).unwrap(), None);
    assert!(matches!(
        both.reseal(&tenant("t_beta"), &old),
        Err(SecretError::Refused { .. })
    ));
}

#[test]
fn a_box_is_bound_to_its_key_id() {
    let subject = tenant("t_acme");
    // The same key under two ids: the text of the id is authenticated as well.
    let both = store(&format!("k1:{0},k2:{0}", key(7)));
    let made = both.put(&subject, &secret("one")).unwrap();
    let renamed = SecretRef(made.0.replace(":k1:", ":k2:"));
    assert!(matches!(
        both.open(&subject, &renamed),
        Err(SecretError::Refused { .. })
    ));
}

#[test]
fn a_removed_key_does_not_hold_up_a_removal() {
    let subject = tenant("t_acme");
    let made = store(&format!("k1:{}", key(1)))
        .put(&subject, &secret("one"))
        .unwrap();
    let later = store(&format!("k2:{}", key(2)));
    assert_eq!(later.remove(&subject, &made), Ok(()));
}

#[test]
fn key_rings_that_are_not() {
    let good = key(1);
    for (text, expected) in [
        (String::new(), InvalidKeyRing::Empty),
        (" ".to_owned(), InvalidKeyRing::Empty),
        (good.clone(), InvalidKeyRing::Id(1)),
        (format!("K1:{good}"), InvalidKeyRing::Id(1)),
        (format!(":{good}"), InvalidKeyRing::Id(1)),
        (format!("k1:{good},"), InvalidKeyRing::Id(2)),
        ("k1:c2hvcnQ=".to_owned(), InvalidKeyRing::Key(1)),
        (format!("k1:{good},k2:!"), InvalidKeyRing::Key(2)),
        (format!("k1:{good},k1:{good}"), InvalidKeyRing::Repeated(2)),
        (
            (0..17)
                .map(|n| format!("k{n}:{good}"))
                .collect::<Vec<_>>()
                .join(","),
            InvalidKeyRing::TooMany,
        ),
    ] {
        assert_eq!(KeyRing::parse(&text).unwrap_err(), expected, "{text}");
    }
}

#[test]
fn a_ring_is_read_back_and_never_shown() {
    let subject = SecretSubject::SigningKey;
    let ring = KeyRing::generate();
    let text = ring.to_secret();
    let first = SealedStore::new(ring);
    let second = store(text.expose());
    let made = first.put(&subject, &secret("one")).unwrap();
    assert_eq!(second.open(&subject, &made).unwrap().expose(), "one");
    let shown = format!("{first:?}");
    let (id, encoded) = text.expose().split_once(':').unwrap();
    assert!(shown.contains(id) && !shown.contains(encoded), "{shown}");
}

fn subjects() -> impl Strategy<Value = SecretSubject> {
    prop_oneof![
        "t_[a-z][a-z0-9_]{1,39}".prop_map(|id| tenant(&id)),
        ("[a-z][a-z0-9-]{0,39}", any::<bool>()).prop_map(|(cluster, platform)| {
            let role = if platform {
                ClusterRole::Platform
            } else {
                ClusterRole::Schema
            };
            SecretSubject::Cluster(cluster.parse().unwrap(), role)
        }),
        Just(SecretSubject::SigningKey),
    ]
}

proptest! {
    #[test]
    fn any_secret_comes_back_for_its_subject(text in ".{1,300}", subject in subjects()) {
        let store = SealedStore::new(KeyRing::generate());
        let made = store.put(&subject, &secret(&text)).unwrap();
        let opened = store.open(&subject, &made).unwrap();
        prop_assert_eq!(opened.expose(), text);
    }

    #[test]
    fn no_other_subject_opens_it(subject in subjects(), other in subjects()) {
        proptest::prop_assume!(subject != other);
        let store = SealedStore::new(KeyRing::generate());
        let made = store.put(&subject, &secret("one")).unwrap();
        let refused = matches!(store.open(&other, &made), Err(SecretError::Refused { .. }));
        prop_assert!(refused);
    }

    #[test]
    fn any_flipped_bit_of_the_box_is_refused(
        text in "[ -~]{1,64}",
        at in any::<proptest::sample::Index>(),
        bit in 0_u8..8,
    ) {
        let subject = tenant("t_acme");
        let store = SealedStore::new(KeyRing::generate());
        let made = store.put(&subject, &secret(&text)).unwrap();
        let (head, encoded) = made.0.rsplit_once(':').unwrap();
        let mut content = URL_SAFE_NO_PAD.decode(encoded).unwrap();
        let index = at.index(content.len());
        content[index] ^= 1 << bit;
        let changed = SecretRef(format!("{head}:{}", URL_SAFE_NO_PAD.encode(content)));
        let refused = matches!(store.open(&subject, &changed), Err(SecretError::Refused { .. }));
        prop_assert!(refused);
    }

    #[test]
    fn any_changed_or_cut_reference_fails(
        at in any::<proptest::sample::Index>(),
        byte in 0x20_u8..0x7f,
    ) {
        let subject = tenant("t_acme");
        let store = SealedStore::new(KeyRing::generate());
        let made = store.put(&subject, &secret("a secret of some length")).unwrap();
        let index = at.index(made.0.len());
        let cut = SecretRef(made.0[..index].to_owned());
        prop_assert!(store.open(&subject, &cut).is_err());
        let mut bytes = made.0.into_bytes();
        proptest::prop_assume!(bytes[index] != byte);
        bytes[index] = byte;
        let changed = SecretRef(String::from_utf8(bytes).unwrap());
        prop_assert!(store.open(&subject, &changed).is_err());
    }

    #[test]
    fn arbitrary_references_are_errors(text in ".{0,200}") {
        let subject = tenant("t_acme");
        let store = SealedStore::new(KeyRing::generate());
        let bare = SecretRef(text.clone());
        prop_assert!(store.open(&subject, &bare).is_err());
        let dressed = SecretRef(format!("{PREFIX}k1:{text}"));
        prop_assert!(store.open(&subject, &dressed).is_err());
    }
}
