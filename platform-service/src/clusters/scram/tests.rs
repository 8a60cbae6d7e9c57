//! The example conversation of RFC 7677: the verifier accepts its proof and gives its signature.

use super::*;

const AUTH_MESSAGE: &[u8] = b"n=user,r=rOprNGfwEbeRWgbNEkqO,\
r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const CLIENT_PROOF: &str = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const SERVER_SIGNATURE: &str = "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

fn pencil() -> Secret {
    Secret::new("pencil".to_owned())
}

fn key(text: &str) -> [u8; KEY_BYTES] {
    STANDARD.decode(text).unwrap().try_into().unwrap()
}

#[test]
fn fits_the_conversation_of_the_rfc() {
    let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let verifier = Verifier::with(&pencil(), &salt, 4096);
    let keys = verifier
        .as_str()
        .strip_prefix("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$")
        .unwrap();
    let (stored_key, server_key) = keys.split_once(':').unwrap();

    let client_signature = keyed(&key(stored_key), AUTH_MESSAGE);
    let mut client_key = key(CLIENT_PROOF);
    for (byte, mask) in client_key.iter_mut().zip(client_signature) {
        *byte ^= mask;
    }
    assert_eq!(STANDARD.encode(Sha256::digest(client_key)), stored_key);
    assert_eq!(
        STANDARD.encode(keyed(&key(server_key), AUTH_MESSAGE)),
        SERVER_SIGNATURE
    );
}

#[test]
fn has_its_own_salt_and_hides_itself() {
    let (one, other) = (Verifier::of(&pencil()), Verifier::of(&pencil()));
    assert_ne!(one.as_str(), other.as_str());
    assert_eq!(format!("{one:?}"), "Verifier(..)");
}
