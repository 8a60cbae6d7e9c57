//! A tenant that an operator wants: what a sign-up says, and labels that its cluster must have.
//!
//! Deliberately not a sign-up's to say: labels choose among the operator's clusters. Invariant: labels are
//! an object in JSON and `name=value name=value` in CSV, and the same afterwards.

use std::collections::BTreeMap;
use std::fmt;

use contract::Secret;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use super::intake::NewSignup;

/// A tenant that an operator wants.
#[derive(Debug, Clone, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewTenant, example = json!({
    "company": "Acme Corp", "slug": "acme-corp", "email": "ada@acme.example",
    "password": "correct horse battery staple", "tier": "standard", "time_zone": "Europe/Berlin",
    "labels": {"disk": "nvme"}
}))]
pub(crate) struct Labelled {
    /// The customer's name: 1 to 200 characters.
    company: String,
    /// What people will type for it: 2 to 39 of a-z, 0-9 and single hyphens. Derived from the
    /// company where it is left out.
    slug: Option<String>,
    /// The owner's e-mail address, with which they log in.
    email: String,
    /// The owner's password: 8 to 128 characters, not easy to guess.
    #[schema(value_type = String, format = Password)]
    password: Secret,
    /// A name of `GET /v1/tiers`.
    tier: Option<String>,
    /// Where the data must stay.
    region: Option<String>,
    /// IANA name.
    time_zone: Option<String>,
    /// Labels that its cluster must have: at most 20, each of 1 to 63 characters.
    #[serde(default, deserialize_with = "labels")]
    labels: BTreeMap<String, String>,
}

impl From<Labelled> for NewSignup {
    fn from(new: Labelled) -> Self {
        Self {
            company: new.company,
            slug: new.slug,
            email: new.email,
            password: new.password,
            tier: new.tier,
            region: new.region,
            time_zone: new.time_zone,
            labels: new.labels,
        }
    }
}

/// Reads labels: an object, or what a cell of a table can hold.
fn labels<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    struct Labels;

    impl<'de> Visitor<'de> for Labels {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object of texts")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            BTreeMap::deserialize(serde::de::value::MapAccessDeserializer::new(map))
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            let pairs = text.split_whitespace().map(|pair| {
                let (name, value) = pair.split_once('=')?;
                Some((name.to_owned(), value.to_owned()))
            });
            pairs
                .collect::<Option<_>>()
                .ok_or_else(|| E::custom("labels are name=value, with spaces between them"))
        }
    }
    deserializer.deserialize_any(Labels)
}

/// A label that is looked for, `name=value`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Label(pub(crate) (String, String));

impl TryFrom<String> for Label {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
        let (name, value) = pair.ok_or("a label is name=value")?;
        Ok(Self((name.to_owned(), value.to_owned())))
    }
}
