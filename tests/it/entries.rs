//! The model feature through its API: what it does and what it refuses.

use contract::Code;
use http::Method;
use serde_json::{Value, json};
use world::{Answer, World};

use crate::support::entry;

#[tokio::test]
async fn a_page_of_large_entries_ends_early_and_the_next_one_goes_on() {
    let world = World::shared().await;
    let editor = world.tenant("large").await.editor().await;
    let large = "x".repeat(60 * 1024);
    for number in 0..40 {
        let body = json!({ "title": number.to_string(), "body": { "text": large } });
        editor.post("/v1/entries", body).await.expect(201);
    }
    let (mut titles, mut after) = (Vec::new(), String::new());
    loop {
        let page = editor
            .get(&format!("/v1/entries?limit=100{after}"))
            .await
            .expect(200);
        assert!(page.body().len() < 1100 * 1024, "{}", page.body().len());
        let page = page.json();
        let entries = page["data"].as_array().unwrap();
        let title = |entry: &Value| entry["title"].as_str().unwrap().to_owned();
        titles.extend(entries.iter().map(title));
        if page["has_more"] == false {
            break;
        }
        let last = entries.last().expect("one at least")["id"].as_str();
        after = format!("&starting_after={}", last.unwrap());
    }
    let all: Vec<String> = (0..40).rev().map(|number| number.to_string()).collect();
    assert_eq!(titles, all);
}

#[tokio::test]
async fn an_entry_is_made_shown_changed_and_removed() {
    let world = World::shared().await;
    let editor = world.tenant("crud").await.editor().await;
    let made = editor.post("/v1/entries", entry("First")).await.expect(201);
    let path = made.header("location").to_owned();
    assert_eq!(made.header("etag"), "\"1\"");
    let shown = editor.get(&path).await.expect(200);
    assert_eq!(shown.json(), made.json());
    assert_eq!(shown.json()["body"], json!({ "note": "First" }));
    let patch = |etag: &'static str, body: Value| {
        let request = editor
            .request(Method::PATCH, &path)
            .header("if-match", etag)
            .json(body);
        async move { request.send().await }
    };
    let changed = patch("\"1\"", json!({ "title": "Second" }))
        .await
        .expect(200);
    assert_eq!(changed.header("etag"), "\"2\"");
    assert_eq!(changed.json()["body"], json!({ "note": "First" }));
    patch("\"1\"", json!({ "title": "Third" }))
        .await
        .expect(412)
        .refused(Code::VersionStale);
    for bad in [
        "*",
        "1",
        "\"x\"",
        "W/\"2\"",
        "\"1\", \"2\"",
        "\"0002\"",
        "\"-2\"",
    ] {
        patch(bad, json!({ "title": "Third" }))
            .await
            .expect(400)
            .refused(Code::HeaderInvalid);
    }
    let unconditional = editor.patch(&path, json!({ "title": "Third" })).await;
    unconditional.expect(428).refused(Code::IfMatchMissing);
    let remove = editor
        .request(Method::DELETE, &path)
        .header("if-match", "\"1\"");
    remove.send().await.expect(412).refused(Code::VersionStale);
    editor.delete(&path).await.expect(204);
    editor.get(&path).await.expect(404).refused(Code::NotFound);
    editor
        .delete(&path)
        .await
        .expect(404)
        .refused(Code::NotFound);
}

#[tokio::test]
async fn lists_are_paged_newest_first_and_stable() {
    let world = World::shared().await;
    let owner = world.tenant("pages").await.owner();
    let titles: Vec<Value> = (0..25).map(|n| entry(&format!("Entry {n:02}"))).collect();
    let added = owner
        .post("/v1/entries/batch", json!({ "entries": titles }))
        .await;
    let ids: Vec<String> = added.expect(201).json()["ids"]
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), 25);
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = owner
            .get(&format!("/v1/entries?limit=10{cursor}"))
            .await
            .expect(200)
            .json();
        let data = page["data"].as_array().unwrap();
        seen.extend(
            data.iter()
                .map(|entry| entry["id"].as_str().unwrap().to_owned()),
        );
        // What comes meanwhile is newer than the cursor and moves nothing.
        owner
            .post("/v1/entries", entry("Meanwhile"))
            .await
            .expect(201);
        if page["has_more"] == false {
            break;
        }
        cursor = format!("&starting_after={}", seen.last().unwrap());
    }
    let expected: Vec<String> = ids.into_iter().rev().collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_batch_is_all_or_nothing_and_at_most_five_hundred() {
    let world = World::shared().await;
    let owner = world.tenant("batch").await.owner();
    let batch = |count: usize| {
        let entries: Vec<Value> = (0..count).map(|n| entry(&format!("{n} of many"))).collect();
        json!({ "entries": entries })
    };
    owner
        .post("/v1/entries/batch", batch(500))
        .await
        .expect(201);
    owner
        .post("/v1/entries/batch", batch(501))
        .await
        .expect(422);
    owner.post("/v1/entries/batch", batch(0)).await.expect(422);
    let mut one_bad = batch(3);
    one_bad["entries"][1]["title"] = json!("");
    let answer = owner.post("/v1/entries/batch", one_bad).await.expect(422);
    assert_eq!(
        answer.problem().errors[0].pointer,
        "/entries/1/title",
        "{answer}"
    );
    let found = owner
        .get("/v1/entries?limit=1&q=499")
        .await
        .expect(200)
        .json();
    assert_eq!(found["data"].as_array().unwrap().len(), 1);
    let page = owner.get("/v1/entries?limit=100").await.expect(200).json();
    let newest = page["data"][0]["title"].as_str().unwrap();
    assert_eq!(newest, "499 of many");
}

#[tokio::test]
async fn search_finds_words_of_titles_and_bodies() {
    let world = World::shared().await;
    let owner = world.tenant("search").await.owner();
    for (title, text) in [
        ("Minutes of the kickoff", "coffee and cake"),
        ("Budget", "kickoff costs"),
        ("Holiday", "beach"),
    ] {
        let body = json!({ "title": title, "body": { "text": text, "deep": [{ "more": text }] } });
        owner.post("/v1/entries", body).await.expect(201);
    }
    let count = async |q: &str| {
        let page = owner
            .get(&format!("/v1/entries?q={q}"))
            .await
            .expect(200)
            .json();
        page["data"].as_array().unwrap().len()
    };
    assert_eq!(count("kickoff").await, 2);
    assert_eq!(count("KICKOFF+-budget").await, 1);
    assert_eq!(count("%22coffee+and%22").await, 1);
    assert_eq!(count("nowhere").await, 0);
    for hostile in ["'", "%27+or+1%3D1--", "%26+%7C+%21", "%3A%2A", "%5C"] {
        assert_eq!(count(hostile).await, 0, "{hostile}");
    }
    for bad in ["q=", "q=%00", "q=+", &format!("q={}", "x".repeat(201))] {
        let answer = owner.get(&format!("/v1/entries?{bad}")).await;
        answer.expect(400).refused(Code::QueryInvalid);
    }
}

#[tokio::test]
async fn a_viewer_reads_and_does_not_write() {
    let world = World::shared().await;
    let acme = world.tenant("roles").await;
    let made = acme
        .owner()
        .post("/v1/entries", entry("Seen"))
        .await
        .expect(201);
    let path = made.header("location").to_owned();
    let viewer = acme.viewer().await;
    viewer.get(&path).await.expect(200);
    viewer.get("/v1/entries").await.expect(200);
    let refused = Code::PermissionMissing;
    viewer
        .post("/v1/entries", entry("No"))
        .await
        .expect(403)
        .refused(refused);
    viewer
        .post("/v1/entries/batch", json!({ "entries": [entry("No")] }))
        .await
        .refused(refused);
    let patch = viewer
        .request(Method::PATCH, &path)
        .header("if-match", "\"1\"");
    patch
        .json(json!({ "title": "No" }))
        .send()
        .await
        .refused(refused);
    viewer.delete(&path).await.refused(refused);
    viewer.post("/v1/users", json!({})).await.refused(refused);
    assert_eq!(viewer.get(&path).await.json(), made.json());
    let me = viewer.get("/v1/me").await.expect(200).json();
    let held = me["permissions"].as_array().unwrap();
    assert!(held.contains(&json!("entries:read")), "{held:?}");
    assert!(
        held.iter()
            .all(|held| held.as_str().unwrap().ends_with(":read")),
        "{held:?}"
    );
}

#[tokio::test]
async fn ids_of_the_wrong_kind_and_of_nothing_are_told_apart() {
    let world = World::shared().await;
    let acme = world.tenant("ids").await;
    let owner = acme.owner();
    let me = owner.get("/v1/me").await.json();
    let user = me["user"]["id"].as_str().unwrap().to_owned();
    for bad in [
        user.as_str(),
        "ent_1",
        "1",
        "ent_0192F0C1A4B27C3D8E9FA0B1C2D3E4F5",
        "%27",
        "..%2f",
        "ent_%00",
    ] {
        let answer = owner.get(&format!("/v1/entries/{bad}")).await;
        let problem = answer.expect(400).refused(Code::IdMalformed);
        assert!(
            problem.detail.is_some_and(|detail| detail.contains("ent_")),
            "{bad}"
        );
    }
    let unknown = "/v1/entries/ent_0192f0c1a4b27c3d8e9fa0b1c2d3e4f5";
    owner.get(unknown).await.expect(404).refused(Code::NotFound);
    let list = owner
        .get(&format!("/v1/entries?starting_after={user}"))
        .await;
    list.expect(400).refused(Code::QueryInvalid);
    owner
        .get("/v1/nothing")
        .await
        .expect(404)
        .refused(Code::RouteNotFound);
    let put = owner.request(Method::PUT, "/v1/entries").send().await;
    put.expect(405).refused(Code::MethodNotAllowed);
}

#[tokio::test]
async fn bad_bodies_are_refused_with_a_pointer_and_leave_nothing() {
    let world = World::shared().await;
    let owner = world.tenant("bodies").await.owner();
    let deep = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
    let cases: Vec<(String, u16, Code)> = vec![
        ("".into(), 400, Code::JsonMalformed),
        ("{".into(), 400, Code::JsonMalformed),
        (
            r#"{"title": "a", "body": {}} {}"#.into(),
            400,
            Code::JsonMalformed,
        ),
        ("null".into(), 422, Code::ValidationFailed),
        ("[]".into(), 422, Code::ValidationFailed),
        ("{}".into(), 422, Code::ValidationFailed),
        (
            r#"{"title": 1, "body": {}}"#.into(),
            422,
            Code::ValidationFailed,
        ),
        (
            r#"{"title": "a", "body": []}"#.into(),
            422,
            Code::ValidationFailed,
        ),
        (
            r#"{"title": "a", "body": null}"#.into(),
            422,
            Code::ValidationFailed,
        ),
        (r#"{"title": "a"}"#.into(), 422, Code::ValidationFailed),
        (
            r#"{"title": " ", "body": {}}"#.into(),
            422,
            Code::ValidationFailed,
        ),
        (
            r#"{"title": "a\u0000b", "body": {}}"#.into(),
            422,
            Code::ValidationFailed,
        ),
        (
            r#"{"title": "a", "body": {}, "version": 7}"#.into(),
            422,
            Code::ValidationFailed,
        ),
        (
            r#"{"title": "a", "body": {}, "id": "ent_1"}"#.into(),
            422,
            Code::ValidationFailed,
        ),
        (
            r#"{"title": "a", "body": {}, "created_by": "me"}"#.into(),
            422,
            Code::ValidationFailed,
        ),
        (
            r#"{"title": "a", "title": "b", "body": {}}"#.into(),
            422,
            Code::ValidationFailed,
        ),
        (
            format!(r#"{{"title": "{}", "body": {{}}}}"#, "t".repeat(201)),
            422,
            Code::ValidationFailed,
        ),
        (
            format!(
                r#"{{"title": "a", "body": {{"x": "{}"}}}}"#,
                "x".repeat(70_000)
            ),
            422,
            Code::ValidationFailed,
        ),
        (
            format!(r#"{{"title": "a", "body": {}}}"#, deep(10_000)),
            400,
            Code::JsonMalformed,
        ),
        (
            format!(
                r#"{{"title": "a", "body": {{"x": "{}"}}}}"#,
                "x".repeat(3 << 20)
            ),
            413,
            Code::BodyTooLarge,
        ),
        ("\u{feff}{}".into(), 400, Code::JsonMalformed),
    ];
    for (body, status, code) in cases {
        let shown: String = body.chars().take(60).collect();
        let answer = owner
            .request(Method::POST, "/v1/entries")
            .body(body)
            .send()
            .await;
        assert_eq!(answer.status(), status, "{shown}: {answer}");
        let problem = answer.refused(code);
        assert_eq!(
            code == Code::ValidationFailed,
            !problem.errors.is_empty(),
            "{shown}"
        );
    }
    let bytes = owner
        .request(Method::POST, "/v1/entries")
        .body(vec![0xff, 0xfe, 0x00])
        .send()
        .await;
    bytes.expect(400).refused(Code::JsonMalformed);
    let form = owner.request(Method::POST, "/v1/entries");
    let form = form.body_of_type("application/x-www-form-urlencoded", "title=a");
    form.send()
        .await
        .expect(415)
        .refused(Code::ContentTypeUnsupported);
    let page = owner.get("/v1/entries").await.expect(200).json();
    assert_eq!(page["data"], json!([]));
}

/// The body of an entry as it is shown, digit for digit.
fn kept_body(answer: &Answer) -> String {
    let text = answer.text();
    let from = text.find("\"body\":").unwrap() + "\"body\":".len();
    let to = text.find(",\"version\":").unwrap();
    text[from..to].replace(' ', "")
}

#[tokio::test]
async fn numbers_are_read_back_digit_for_digit() {
    let world = World::shared().await;
    let owner = world.tenant("digits").await.owner();
    let (long, small) = ("9".repeat(1_000), format!("0.{}1", "0".repeat(998)));
    for (sent, kept) in [
        ("12345678901234567890123", "12345678901234567890123"),
        ("-9223372036854775809", "-9223372036854775809"),
        ("18446744073709551616", "18446744073709551616"),
        (
            "0.1000000000000000055511151231257827",
            "0.1000000000000000055511151231257827",
        ),
        (
            "3.14159265358979323846264338327950288",
            "3.14159265358979323846264338327950288",
        ),
        ("1.10", "1.10"),
        // Written out.
        ("1e400", &*format!("1{}", "0".repeat(400))),
        ("-2.5E-3", "-0.0025"),
        (&long, &long),
        (&small, &small),
    ] {
        let wanted = format!("{{\"x\":[{kept},{{\"y\":{kept}}}]}}");
        let body = format!("{{ \"x\" : [ {sent}, {{ \"y\":{sent} }} ] }}");
        let new = format!("{{\"title\":\"Digits\",\"body\":{body}}}");
        let request = owner.request(Method::POST, "/v1/entries").body(new);
        let made = request.send().await.expect(201);
        assert_eq!(kept_body(&made), wanted);
        let path = made.header("location").to_owned();
        assert_eq!(kept_body(&owner.get(&path).await.expect(200)), wanted);
        let patch = owner.request(Method::PATCH, &path);
        let patch = patch.header("if-match", "\"1\"");
        let changed = patch.body(format!("{{\"body\":{body}}}")).send().await;
        assert_eq!(kept_body(&changed.expect(200)), wanted);
        let batch = format!("{{\"entries\":[{{\"title\":\"Batch\",\"body\":{body}}}]}}");
        let request = owner.request(Method::POST, "/v1/entries/batch").body(batch);
        let id = request.send().await.expect(201).json()["ids"][0].clone();
        let path = format!("/v1/entries/{}", id.as_str().unwrap());
        assert_eq!(kept_body(&owner.get(&path).await.expect(200)), wanted);
    }
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused_where_it_stands() {
    let world = World::shared().await;
    let owner = world.tenant("unkept").await.owner();
    let many = vec!["1e999"; 70].join(",");
    for (body, at) in [
        (r#"{"x":1e999999}"#, "/x"),
        (r#"{"x":1e-999999}"#, "/x"),
        (r#"{"x":[0,{"y":1e99999999999999999999}]}"#, "/x/1/y"),
        (r#"{"x":0e131073}"#, "/x"),
        (&*format!(r#"{{"a":1,"x":{}}}"#, "1".repeat(1_001)), "/x"),
        (&*format!(r#"{{"x":0.{}}}"#, "1".repeat(1_001)), "/x"),
        // Few bytes, and many once they are written out.
        (&*format!(r#"{{"x":[{many}]}}"#), ""),
        (r#"{"x":"\u0000"}"#, "/x"),
        (r#"{"x":{"a/b~c":["","a\u0000b"]}}"#, "/x/a~1b~0c/1"),
        (r#"{"x":{"a\u0000":1}}"#, "/x/a\0"),
        (r#"{"x":["\ud800"]}"#, "/x/0"),
        (r#"{"x":"\udc00\ud800"}"#, "/x"),
        ("[]", ""),
        ("null", ""),
        (r#""{}""#, ""),
    ] {
        for (method, path, request, whole) in [
            (Method::POST, "/v1/entries", r#"{"title":"a","body":"#, "}"),
            (
                Method::PATCH,
                "/v1/entries/ent_0192f0c1a4b27c3d8e9fa0b1c2d3e4f5",
                r#"{"body":"#,
                "}",
            ),
            (
                Method::POST,
                "/v1/entries/batch",
                r#"{"entries":[{"title":"a","body":{}},{"title":"a","body":"#,
                "}]}",
            ),
        ] {
            let sent = owner.request(method, path).header("if-match", "\"1\"");
            let sent = sent.body(format!("{request}{body}{whole}")).send().await;
            let problem = sent.expect(422).refused(Code::ValidationFailed);
            let within = if path.ends_with("batch") {
                "/entries/1/body"
            } else {
                "/body"
            };
            assert_eq!(problem.errors.len(), 1, "{body}: {problem:?}");
            assert_eq!(problem.errors[0].pointer, format!("{within}{at}"), "{body}");
        }
    }
    let page = owner.get("/v1/entries").await.expect(200).json();
    assert_eq!(page["data"], json!([]));
    // As deep as a body may be, and one level deeper.
    let deep = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
    for (levels, status) in [(126, 201), (127, 400)] {
        let new = format!("{{\"title\":\"Deep\",\"body\":{}}}", deep(levels));
        let request = owner.request(Method::POST, "/v1/entries").body(new);
        assert_eq!(request.send().await.status(), status, "{levels}");
    }
}

#[tokio::test]
async fn lists_are_bounded() {
    let world = World::shared().await;
    let owner = world.tenant("bounded").await.owner();
    for bad in ["0", "101", "-1", "1000000000", "x", "1e1", ""] {
        let answer = owner.get(&format!("/v1/entries?limit={bad}")).await;
        answer.expect(400).refused(Code::QueryInvalid);
    }
    owner
        .get("/v1/entries?limt=1")
        .await
        .expect(400)
        .refused(Code::QueryInvalid);
}

#[tokio::test]
async fn of_concurrent_changes_from_one_version_one_wins() {
    let world = World::shared().await;
    let owner = world.tenant("versions").await.owner();
    let made = owner
        .post("/v1/entries", entry("Contested"))
        .await
        .expect(201);
    let path = made.header("location");
    let changes = (0..12).map(|n| {
        let request = owner
            .request(Method::PATCH, path)
            .header("if-match", "\"1\"");
        request
            .json(json!({ "title": format!("Change {n}") }))
            .send()
    });
    let mut statuses: Vec<u16> = futures::future::join_all(changes)
        .await
        .iter()
        .map(world::Answer::status)
        .collect();
    statuses.sort_unstable();
    assert_eq!(statuses[0], 200, "{statuses:?}");
    assert!(
        statuses[1..].iter().all(|status| *status == 412),
        "{statuses:?}"
    );
}
