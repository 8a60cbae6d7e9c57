//! The whole table of verdicts.

use super::{Presented, SessionState, SpentAt, TokenState, Verdict};

#[test]
fn the_whole_table() {
    use SpentAt::{LongAgo, Recently};
    use TokenState::{Live, Spent, Superseded};
    let table = [
        (Live, LongAgo, Verdict::Rotate),
        (Spent, Recently, Verdict::ReissueIfUnused),
        (Spent, LongAgo, Verdict::End),
        (Superseded, LongAgo, Verdict::End),
        (Superseded, Recently, Verdict::End),
    ];
    for (token, spent, verdict) in table {
        let open = Presented {
            session: SessionState::Open,
            token,
            spent,
        };
        assert_eq!(open.verdict(), verdict, "{token:?} {spent:?}");
        let over = Presented {
            session: SessionState::Over,
            ..open
        };
        assert_eq!(over.verdict(), Verdict::Refuse, "{token:?} {spent:?}");
    }
}
