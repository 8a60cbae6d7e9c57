//! The suite on the sealed store.
//!
//! Its peculiarities (boxes, key rings) are unit tests beside the code.

use adapters::secret_store::{KeyRing, SealedStore, SecretStore};

use crate::suite::{Removal, Subject, secret, tenant};

async fn fresh() -> Subject {
    Subject {
        store: SecretStore::Sealed(SealedStore::new(KeyRing::generate())),
        removal: Removal::EndsWithTheReference,
    }
}

behaves!(fresh);

#[tokio::test]
async fn nothing_is_left_to_sweep() {
    let Subject { store, .. } = fresh().await;
    store
        .put(&tenant("t_acme"), "v1", &secret("one"))
        .await
        .unwrap();
    assert_eq!(store.list().await, Ok(Vec::new()));
}
