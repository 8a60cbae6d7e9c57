//! Taking in a request for a tenant, from the body to the recorded operation.
//!
//! Deliberately the same road for sign-ups and operators; who may use it is their doors' matter.
//! Invariants: everything is checked, and the password hashed, before anything is recorded; and a
//! request that comes again with its key has no second effect.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::response::Response;
use contract::{Code, OperationId, Secret, TenantId};
use kit::error::{Problem, Result};
use kit::passwords::Password;
use serde::Deserialize;
use serde_json::Value;
use sqlx::PgConnection;

use super::answer::{answer, answer_repeat};
use super::idempotency::{Fingerprint, MaybeIdempotencyKey, PollToken, fingerprint};
use super::labelled::Labelled;
use super::proposal::{self, Names};
use super::{NewTenant, rules, slug, store};
use crate::audit::{self, Action, Actor};
use crate::operations::begin::{Wait, repeated};
use crate::operations::store::Idempotency;
use crate::operations::{NewCreate, NotReserved, Reserved, reserve_create};
use crate::platform::Platform;
use crate::tiers;

/// A tenant that somebody wants.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "company": "Acme Corp", "slug": "acme-corp", "email": "ada@acme.example",
    "password": "correct horse battery staple", "tier": "standard", "time_zone": "Europe/Berlin"
}))]
pub(crate) struct NewSignup {
    /// The customer's name: 1 to 200 characters.
    pub(super) company: String,
    /// What people will type for it: 2 to 39 of a-z, 0-9 and single hyphens. Derived from the
    /// company where it is left out.
    pub(super) slug: Option<String>,
    /// The owner's e-mail address, with which they log in.
    pub(super) email: String,
    /// The owner's password: 8 to 128 characters, not easy to guess.
    #[schema(value_type = String, format = Password)]
    pub(super) password: Secret,
    /// A name of `GET /v1/tiers`.
    pub(super) tier: Option<String>,
    /// Where the data must stay.
    pub(super) region: Option<String>,
    /// IANA name.
    pub(super) time_zone: Option<String>,
    /// Labels that its cluster must have: an operator's to say, see [`super::labelled`].
    #[serde(skip)]
    #[schema(ignore)]
    pub(super) labels: BTreeMap<String, String>,
}

/// Takes a request in, runs its operation, waits for it a little and answers.
pub(crate) async fn take_in(
    platform: &Platform,
    actor: Actor,
    key: MaybeIdempotencyKey,
    signup: NewSignup,
    wait: Wait,
) -> Result<Response> {
    let secret = &platform.settings.internal.platform_key;
    let labels = (!signup.labels.is_empty()).then(|| format!("{:?}", signup.labels));
    let fields = signup.fields(labels.as_ref());
    let fingerprint = key
        .0
        .map(|key| fingerprint(secret, &actor.to_string(), &key, &fields))
        .transpose()?;
    let token = PollToken::new(secret, fingerprint.as_ref())?;
    // Held until the operation is recorded and can be found by its key.
    let taking_in = fingerprint
        .as_ref()
        .map(|fingerprint| platform.signups.in_progress.begin(fingerprint))
        .transpose()?;
    if let Some(earlier) = repeated(platform, fingerprint.as_ref()).await? {
        return answer_repeat(platform, actor, &earlier, &token, wait).await;
    }
    let refusal = match taken_in(platform, actor, &signup, fingerprint.as_ref(), &token).await {
        Ok((tenant, reserved)) => {
            drop(taking_in);
            return run(platform, actor, (&tenant, reserved), &token, wait).await;
        }
        Err(refusal) => refusal,
    };
    // What refuses it may be what the same request has made meanwhile, on another replica.
    match repeated(platform, fingerprint.as_ref()).await? {
        Some(earlier) => answer_repeat(platform, actor, &earlier, &token, wait).await,
        None => Err(refusal),
    }
}

/// Checks a request and records its operation.
async fn taken_in(
    platform: &Platform,
    actor: Actor,
    signup: &NewSignup,
    fingerprint: Option<&Fingerprint>,
    token: &PollToken,
) -> Result<(NewTenant, Reserved)> {
    let checked = async {
        let mut connection = platform.registry.acquire().await?;
        let tenant = check(platform, &mut connection, signup).await?;
        if actor == Actor::Signup {
            tiers::check_self_service(&mut connection, &tenant.tier).await?;
        }
        Ok::<_, Problem>(tenant)
    };
    let (tenant, password) = tokio::join!(checked, strong_enough(signup));
    // A slug that is taken is the more useful thing to say.
    let tenant = tenant?;
    let password_hash = platform.hasher.hash(&password?).await?;
    let new = NewCreate {
        owner_email: tenant.contact_email.clone(),
        password_hash,
        idempotency: fingerprint.map(Idempotency::from),
        poll_digest: Some(token.digest().to_vec()),
        tenant: tenant.clone(),
        actor,
        parent: None,
    };
    match reserve(platform, actor, new).await {
        Ok(reserved) => Ok((tenant, reserved)),
        Err(NotReserved::Failed(problem)) => Err(problem),
        Err(NotReserved::Taken | NotReserved::KeyUsed) => {
            let mut connection = platform.registry.acquire().await?;
            Err(proposal::taken(&mut connection, tenant.slug).await?)
        }
    }
}

/// Runs a recorded operation, waits for it a little and answers.
async fn run(
    platform: &Platform,
    actor: Actor,
    (tenant, reserved): (&NewTenant, Reserved),
    token: &PollToken,
    wait: Wait,
) -> Result<Response> {
    let id = reserved.id();
    let patience = match wait {
        Wait::None => Duration::ZERO,
        Wait::Done | Wait::Replicas => platform.settings.signup.wait.get(),
    };
    let state = platform.runner.run(reserved, patience).await;
    answer(platform, actor, tenant, (id, state), token, wait).await
}

async fn reserve(
    platform: &Platform,
    actor: Actor,
    new: NewCreate,
) -> Result<Reserved, NotReserved> {
    let mut transaction = platform.registry.begin().await?;
    let reserved = record(platform, &mut transaction, actor, new).await?;
    transaction.commit().await?;
    Ok(reserved)
}

async fn record(
    platform: &Platform,
    connection: &mut PgConnection,
    actor: Actor,
    new: NewCreate,
) -> Result<Reserved, NotReserved> {
    let tenant = new.tenant.id.clone();
    let detail = serde_json::json!({
        "slug": new.tenant.slug, "tier": new.tenant.tier, "region": new.tenant.region,
    });
    let reserved = reserve_create(&mut *connection, platform, new).await?;
    let action = Action::TenantRequested;
    audit::record(connection, actor, action, Some(&tenant), detail).await?;
    Ok(reserved)
}

/// Records a tenant as a part of another operation, in that one's transaction; it is made when the
/// runner is nudged.
///
/// # Errors
/// A rule is broken, or somebody has the slug; `not-ready` where somebody took it just now, and the
/// transaction is of no more use.
pub(crate) async fn begin_for(
    platform: &Platform,
    connection: &mut PgConnection,
    actor: Actor,
    parent: OperationId,
    signup: NewSignup,
) -> Result<(TenantId, OperationId)> {
    let tenant = check(platform, &mut *connection, &signup).await?;
    let password_hash = platform.hasher.hash(&strong_enough(&signup).await?).await?;
    let id = tenant.id.clone();
    let new = NewCreate {
        owner_email: tenant.contact_email.clone(),
        password_hash,
        idempotency: None,
        poll_digest: None,
        tenant,
        actor,
        parent: Some(parent),
    };
    match record(platform, connection, actor, new).await {
        Ok(reserved) => Ok((id, reserved.id())),
        Err(NotReserved::Failed(problem)) => Err(problem),
        Err(NotReserved::Taken | NotReserved::KeyUsed) => {
            Err(Problem::new(Code::NotReady).detail("Somebody took the slug at this moment."))
        }
    }
}

impl NewSignup {
    /// The owner's password.
    pub(crate) fn password(&self) -> &Secret {
        &self.password
    }

    /// All but the password.
    pub(crate) fn without_password(&self) -> Value {
        serde_json::json!({
            "company": self.company, "slug": self.slug, "email": self.email, "tier": self.tier,
            "region": self.region, "time_zone": self.time_zone, "labels": self.labels,
        })
    }

    /// The whole of [`NewSignup::without_password`] and the password.
    ///
    /// # Errors
    /// The value is another one.
    pub(crate) fn with_password(mut rest: Value, password: &Secret) -> Result<Self> {
        if let Value::Object(fields) = &mut rest {
            fields.insert("password".to_owned(), password.expose().into());
        }
        let labelled: Labelled = serde_json::from_value(rest).map_err(Problem::internal)?;
        Ok(labelled.into())
    }

    /// All that the request says, in a fixed order; labels last, where it has some.
    fn fields<'a>(&'a self, labels: Option<&'a String>) -> Vec<Option<&'a str>> {
        let fields = [
            Some(self.company.as_str()),
            self.slug.as_deref(),
            Some(self.email.as_str()),
            Some(self.password.expose()),
            self.tier.as_deref(),
            self.region.as_deref(),
            self.time_zone.as_deref(),
        ];
        let labels = labels.map(|labels| Some(labels.as_str()));
        fields.into_iter().chain(labels).collect()
    }
}

/// What the registry and the rules say to a request, before its password is looked at.
async fn check(
    platform: &Platform,
    connection: &mut PgConnection,
    signup: &NewSignup,
) -> Result<NewTenant> {
    let settings = &platform.settings.signup;
    let tier = signup.tier.as_ref().unwrap_or(&settings.default_tier);
    let time_zone = signup.time_zone.as_ref();
    let wanted = Wanted {
        slug: signup.slug.as_deref(),
        company: &signup.company,
        email: &signup.email,
        tier,
        region: signup.region.as_ref().or(settings.default_region.as_ref()),
        time_zone: time_zone.unwrap_or(&settings.default_time_zone),
        labels: &signup.labels,
    };
    admit(connection, wanted).await
}

/// What somebody wants a tenant to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// None derives it from the company.
    pub(crate) slug: Option<&'a str>,
    pub(crate) company: &'a str,
    pub(crate) email: &'a str,
    pub(crate) tier: &'a str,
    /// None takes the first one that there is.
    pub(crate) region: Option<&'a String>,
    /// IANA name.
    pub(crate) time_zone: &'a str,
    /// Labels that its cluster must have.
    pub(crate) labels: &'a BTreeMap<String, String>,
}

/// The tenant that can be made of what somebody wants.
///
/// # Errors
/// A rule is broken, or somebody has the slug.
pub(crate) async fn admit(connection: &mut PgConnection, wanted: Wanted<'_>) -> Result<NewTenant> {
    let company = rules::company(wanted.company)?;
    let contact_email = rules::email("/email", wanted.email)?;
    let time_zone = rules::time_zone(wanted.time_zone)?;
    rules::labels("/labels", wanted.labels)?;
    let names = Names {
        slug: wanted.slug,
        company: &company,
        email: &contact_email,
    };
    let slug = proposal::wanted_slug(&mut *connection, names).await?;
    tiers::check(&mut *connection, wanted.tier).await?;
    let region = region(&mut *connection, wanted.region).await?;
    if slug::is_reserved(&slug) {
        let problem = Problem::new(Code::SlugReserved);
        return Err(proposal::beside(&mut *connection, problem, slug).await?);
    }
    let id = slug.tenant_id();
    let holders =
        store::find_taken(&mut *connection, &[slug.to_string()], &[id.to_string()]).await?;
    if !holders.is_empty() {
        return Err(proposal::taken(connection, slug).await?);
    }
    Ok(NewTenant {
        id,
        slug,
        company,
        contact_email,
        tier: wanted.tier.to_owned(),
        region,
        time_zone,
        labels: wanted.labels.clone(),
    })
}

/// The region that is meant; one that no active cluster has is refused with those that there are.
async fn region(connection: &mut PgConnection, wanted: Option<&String>) -> Result<String> {
    let known = store::regions(connection).await?;
    match (wanted, known.first()) {
        (_, None) => Err(Problem::new(Code::NotReady).detail(
            "No cluster takes new tenants: none has been added yet, or each is full or draining.",
        )),
        (None, Some(first)) => Ok(first.clone()),
        (Some(region), _) if known.contains(region) => Ok(region.clone()),
        (Some(_), _) => Err(Problem::field(
            "/region",
            format!("is none of {}", known.join(", ")),
        )),
    }
}

/// The PHC string of the owner's password, if it may be one.
async fn strong_enough(signup: &NewSignup) -> Result<Password> {
    let (text, email, company) = (
        signup.password.clone(),
        signup.email.clone(),
        signup.company.clone(),
    );
    // Guessing how hard it is to guess takes some milliseconds.
    tokio::task::spawn_blocking(move || Password::parse(text, &[&email, &company]))
        .await
        .map_err(Problem::internal)?
        .map_err(|refusal| Problem::field("/password", refusal.to_string()))
}
