//! Which answers are older than the news.

use super::News;

#[test]
fn an_answer_is_kept_that_is_no_older_than_what_was_heard() {
    for answer in [None, Some(1)] {
        assert!(!News::Nothing.outdate(answer));
        assert!(News::Missed.outdate(answer));
    }
    assert!(News::Generation(2).outdate(Some(1)));
    assert!(!News::Generation(2).outdate(Some(2)));
    assert!(!News::Generation(2).outdate(Some(3)));
    // That there is no such tenant says nothing of when.
    assert!(News::Generation(2).outdate(None));
}

#[test]
fn of_two_news_the_later_counts() {
    let later = News::Generation(2).max(News::Generation(1));
    assert_eq!(later, News::Generation(2));
    assert_eq!(later.max(News::Missed), News::Missed);
    assert_eq!(News::Nothing.max(later), later);
}
