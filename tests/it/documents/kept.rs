//! Documents and pages: sent compressed without being compressed anew, and not at all to who has them.

use http::Method;
use world::{Answer, Speaker, World};

use crate::answers::decoded;

/// What is answered to a request with these headers.
async fn ask(speaker: &Speaker, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = speaker.request(Method::GET, path);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.send().await
}

#[tokio::test]
async fn who_has_a_document_is_not_sent_it_again() {
    let world = World::shared().await;
    let speakers = [
        world.anonymous(),
        world.visitor(),
        world.platform(),
        world.service(),
    ];
    for speaker in speakers {
        for path in ["/openapi.json", "/docs/", "/docs/swagger-ui-bundle.js"] {
            let plain = ask(&speaker, path, &[]).await.expect(200);
            let coded = ask(&speaker, path, &[("accept-encoding", "gzip")]).await;
            let coded = coded.expect(200);
            assert_eq!(plain.header("content-encoding"), "", "{path}");
            assert_eq!(coded.header("content-encoding"), "gzip", "{path}");
            assert_eq!(decoded(&coded), plain.body(), "{path}");
            assert!(coded.body().len() < plain.body().len(), "{path}");
            let tag = plain.header("etag").to_owned();
            assert!(tag.starts_with("W/\""), "{path}: {tag}");
            for answer in [&plain, &coded] {
                assert_eq!(answer.header("etag"), tag, "{path}");
                assert_eq!(answer.header("cache-control"), "max-age=60", "{path}");
                let mut varies = answer.headers().get_all("vary").iter();
                assert!(varies.any(|value| value == "accept-encoding"), "{path}");
            }
            let policy = coded.header("content-security-policy").to_owned();
            for kept in [tag.clone(), format!("\"other\", {tag}"), "*".to_owned()] {
                let same = ask(&speaker, path, &[("if-none-match", &kept)]).await;
                let same = same.expect(304);
                assert!(same.body().is_empty(), "{path}");
                assert_eq!(same.header("etag"), tag, "{path}");
                assert_eq!(same.header("content-security-policy"), policy, "{path}");
            }
            ask(&speaker, path, &[("if-none-match", "W/\"other\"")])
                .await
                .expect(200);
        }
    }
}
