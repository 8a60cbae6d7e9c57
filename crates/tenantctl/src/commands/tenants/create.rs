//! A new tenant, with an owner who can log in.
//!
//! Deliberately never a password as an argument. Invariant: a request whose answer is lost is sent again with
//! the same key, so that one tenant is made.

use clap::Args;
use contract::Slug;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::owner::{OwnerPassword, PASSWORD};
use crate::api::Query;
use crate::context::Context;
use crate::failure::{Failure, text};
use crate::follow;
use crate::output::{columns, plain, state};
use crate::values;

columns! {
    const MADE: "SignupView" = [
        plain("tenant", "/id"),
        plain("slug", "/slug"),
        state("status", "/status"),
        plain("api", "/api_url"),
        plain("owner", "/login/body/email"),
        plain("operation", "/operation/id"),
    ];
}

/// A tenant to be made.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The customer's name.
    #[arg(long)]
    company: String,
    /// Short name for people to type. Default: derived from the company.
    #[arg(long)]
    slug: Option<Slug>,
    /// The owner's e-mail address.
    #[arg(long)]
    email: String,
    /// Tier, as in `tenantctl tiers list`.
    #[arg(long)]
    tier: Option<String>,
    /// Region that the data must stay in.
    #[arg(long)]
    region: Option<String>,
    /// IANA time zone, such as Europe/Berlin.
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// A label that its cluster must have, name=value; repeatable.
    #[arg(long = "label", value_name = "LABEL", value_parser = values::label)]
    labels: Vec<(String, String)>,
    #[command(flatten)]
    password: OwnerPassword,
}

impl Create {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let api = context.api()?;
        let password = self.password.read()?;
        let mut body = json!({
            "company": self.company, "email": self.email, "password": password.expose(),
        });
        let optional = [
            ("slug", self.slug.map(String::from)),
            ("tier", self.tier),
            ("region", self.region),
            ("time_zone", self.time_zone),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                body[name] = value.into();
            }
        }
        if !self.labels.is_empty() {
            let labels: Map<String, Value> = self
                .labels
                .into_iter()
                .map(|(name, value)| (name, value.into()))
                .collect();
            body["labels"] = Value::Object(labels);
        }
        let key = Uuid::now_v7();
        let mut unseen = password.unseen(context);
        let query: Query = vec![("wait", "none".to_owned())];
        let (_, mut made) = unseen.sent(api.post("/v1/tenants", &query, &body, key).await)?;
        if let Ok(operation) = text(&made, "/operation/id").parse() {
            let view = api.operation(operation).await?;
            if follow::is_over(&unseen.followed(follow::settled(context, view).await)?) {
                // The same request again: it makes nothing, and answers with the tenant as it is.
                (_, made) = api.post("/v1/tenants", &Query::new(), &body, key).await?;
            }
        }
        made = follow::heard(context, made, async |query| {
            api.post("/v1/tenants", &query, &body, key).await
        })
        .await?;
        // Whoever sees the answer may not need to read the operation by its token: keys can.
        if let Some(ticket) = made["operation"].as_object_mut() {
            ticket.remove("token");
        }
        unseen.show_in(&mut made);
        let mut fields = MADE.to_vec();
        fields.push(PASSWORD);
        context.out.item(&fields, &made)
    }
}
