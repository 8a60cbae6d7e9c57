//! A name in a document means one thing.
//!
//! Deliberately services that are built and never run: nothing else decides it.

use app_service::{App, Module, entries};
use kit::config::load_with;
use kit::extract::Json;
use kit::operations;
use serde::Serialize;

/// What two modules call a thing, and the platform an error.
mod left {
    use super::{Json, Serialize};

    #[derive(Serialize, utoipa::ToSchema)]
    pub(super) struct Thing {
        title: String,
    }

    #[utoipa::path(get, path = "/v1/left", operation_id = "left.show", responses((status = OK, body = Thing)))]
    pub(super) async fn show() -> Json<Thing> {
        let title = "left".to_owned();
        Json(Thing { title })
    }
}

mod right {
    use super::{Json, Serialize};

    #[derive(Serialize, utoipa::ToSchema)]
    pub(super) struct Thing {
        count: u8,
    }

    #[utoipa::path(get, path = "/v1/right", operation_id = "right.show", responses((status = OK, body = Thing)))]
    pub(super) async fn show() -> Json<Thing> {
        Json(Thing { count: 1 })
    }

    #[derive(Serialize, utoipa::ToSchema)]
    pub(super) struct FieldError {
        line: u32,
    }

    #[utoipa::path(get, path = "/v1/errors", operation_id = "errors.show", responses((status = OK, body = FieldError)))]
    pub(super) async fn error() -> Json<FieldError> {
        Json(FieldError { line: 1 })
    }
}

/// What starting an app says.
pub(crate) async fn started(app: App) -> Result<(), String> {
    let key = "0123456789abcdef0123456789abcdef";
    let settings = [
        ("APP__PUBLIC__LISTEN", "127.0.0.1:0"),
        ("APP__INTERNAL__LISTEN", "127.0.0.1:0"),
        ("APP__INTERNAL__APP_KEY", key),
        (
            "APP__INTERNAL__PLATFORM_KEY",
            "0123456789abcdef0123456789abcdee",
        ),
        (
            "APP__SEALING__KEYS",
            "k1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        ),
        ("APP__PLATFORM__URL", "http://127.0.0.1:1"),
    ];
    let settings = load_with(&app_service::config::SPEC, None, settings).unwrap();
    match app.build(settings).await {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{error:#}")),
    }
}

#[tokio::test]
async fn two_schemas_of_one_name_keep_a_service_from_starting() {
    let left = || Module::new("left_side", vec![]).routes(operations!(left::show));
    let right = || Module::new("right_side", vec![]).routes(operations!(right::show));
    let error = || Module::new("errors", vec![]).routes(operations!(right::error));

    let app = App::new().module(left()).module(right());
    let refused = started(app).await.unwrap_err();
    let words = "module left_side and module right_side each have a schema Thing";
    assert!(refused.starts_with(words), "{refused}");

    let refused = started(App::new().module(error())).await.unwrap_err();
    let words = "the platform and module errors each have a schema FieldError";
    assert!(refused.starts_with(words), "{refused}");

    // One type that two of them use is one thing.
    let same = Module::new("same", vec![]).routes(operations!(left::show));
    let other = Module::new("entries_too", vec![]);
    let app = App::new()
        .module(entries::module())
        .module(same)
        .module(other);
    started(app).await.unwrap();
}

#[tokio::test]
async fn what_two_modules_cannot_both_have_keeps_a_service_from_starting() {
    let one = Module::new("one", vec![]).routes(operations!(left::show));
    let two = Module::new("two", vec![]).routes(operations!(left::show));
    let refused = started(App::new().module(one).module(two)).await;
    let words = "module one and module two each have GET /v1/left";
    assert!(refused.unwrap_err().starts_with(words));

    // SQL would take the name of its schema for something else.
    let order = Module::new("order", vec![]);
    let refused = started(App::new().module(order)).await.unwrap_err();
    assert!(refused.contains("no word that SQL reserves"), "{refused}");
}
