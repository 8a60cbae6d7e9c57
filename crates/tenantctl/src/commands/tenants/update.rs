//! A change of a tenant.
//!
//! Deliberately what is not named stays. Invariant: a change names the generation that was read, so that
//! nobody's change is lost.

use clap::Args;
use contract::Slug;
use serde_json::{Map, Value};

use super::show::FIELDS;
use super::{Named, path};
use crate::context::Context;
use crate::failure::Failure;
use crate::follow;
use crate::values;

/// What to change; what is left out stays.
#[derive(Debug, Args)]
pub(crate) struct Update {
    #[command(flatten)]
    tenant: Named,
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Change {
    /// The customer's name.
    #[arg(long)]
    company: Option<String>,
    /// Contact address of the customer.
    #[arg(long, value_name = "EMAIL")]
    contact: Option<String>,
    /// Tier, as in `tenantctl tiers list`.
    #[arg(long)]
    tier: Option<String>,
    /// IANA time zone, such as Europe/Berlin.
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// Short name for people to type. The id does not change.
    #[arg(long)]
    slug: Option<Slug>,
    /// A label that its cluster must have, name=value; repeatable. Replaces all labels.
    #[arg(long = "label", value_name = "LABEL", value_parser = values::label)]
    labels: Vec<(String, String)>,
    /// Remove all labels.
    #[arg(long, conflicts_with = "labels")]
    no_labels: bool,
    /// JSON object that replaces all overrides of the tier's limits and features.
    #[arg(long, value_name = "JSON", value_parser = object)]
    overrides: Option<Value>,
}

fn object(text: &str) -> Result<Value, String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => Ok(Value::Object(fields)),
        _ => Err("expected a JSON object, such as '{\"limits\": {\"users\": 75}}'".to_owned()),
    }
}

impl Update {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let id = context.tenant(self.tenant.id.as_ref())?;
        let body = self.change.body();
        let api = context.api()?;
        let (_, etag) = api.tagged(&path(&id)).await?;
        follow::patched(context, &path(&id), Some(&etag), &body, FIELDS).await
    }
}

impl Change {
    fn body(self) -> Value {
        let texts = [
            ("company", self.company),
            ("contact_email", self.contact),
            ("tier", self.tier),
            ("time_zone", self.time_zone),
            ("slug", self.slug.map(String::from)),
        ];
        let mut body: Map<String, Value> = texts
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.into())))
            .collect();
        body.extend(
            self.overrides
                .map(|overrides| ("overrides".to_owned(), overrides)),
        );
        if self.no_labels || !self.labels.is_empty() {
            let labels: Map<String, Value> = self
                .labels
                .into_iter()
                .map(|(name, value)| (name, value.into()))
                .collect();
            body.insert("labels".to_owned(), Value::Object(labels));
        }
        Value::Object(body)
    }
}
