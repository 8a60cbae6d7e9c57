//! A tenant that was signed up, and the people in it.
//!
//! Deliberately made through the public APIs alone. Invariant: the people of a handle have the role
//! that their name says, and tokens that are good.

use contract::TenantId;
use serde_json::json;

use crate::speaker::Speaker;

/// The password of everybody in the tests.
pub const PASSWORD: &str = "seven wandering lighthouses";

/// A tenant and its owner.
#[derive(Debug, Clone)]
pub struct TenantHandle {
    id: TenantId,
    slug: String,
    email: String,
    /// Nobody, at the first replica of app-service, in this tenant.
    door: Speaker,
    owner: Speaker,
}

impl TenantHandle {
    /// Logs the owner in.
    pub(crate) async fn of_owner(id: TenantId, slug: String, email: String, door: Speaker) -> Self {
        let door = door.in_tenant(id.as_str());
        let owner = log_in(&door, &email).await;
        Self {
            id,
            slug,
            email,
            door,
            owner,
        }
    }

    /// Its id.
    pub fn id(&self) -> &TenantId {
        &self.id
    }

    /// Its slug.
    pub fn slug(&self) -> &str {
        &self.slug
    }

    /// The owner's e-mail address.
    pub fn email(&self) -> &str {
        &self.email
    }

    /// Nobody who names this tenant.
    pub fn anonymous(&self) -> Speaker {
        self.door.clone().from_another_address()
    }

    /// Its owner.
    pub fn owner(&self) -> Speaker {
        self.owner.clone()
    }

    /// A new editor.
    pub async fn editor(&self) -> Speaker {
        self.member("editor").await
    }

    /// A new viewer.
    pub async fn viewer(&self) -> Speaker {
        self.member("viewer").await
    }

    /// A new person with a role.
    pub async fn member(&self, role: &str) -> Speaker {
        let email = format!("{role}-{:08x}@{}.example", rand::random::<u32>(), self.slug);
        let body = json!({ "email": email, "password": PASSWORD, "role": role });
        self.owner.post("/v1/users", body).await.expect(201);
        log_in(&self.anonymous(), &email).await
    }
}

async fn log_in(door: &Speaker, email: &str) -> Speaker {
    let body = json!({ "email": email, "password": PASSWORD });
    let answer = door.post("/v1/auth/login", body).await.expect(200).json();
    let token = answer["access_token"].as_str().expect("an access token");
    door.clone().bearer(token)
}
