use hs_storage::{
    presence::Presence,
    receipts::{NewReceipt, ReceiptType},
};
use ruma::{owned_room_id, owned_user_id};
use serde_json::{Value, json};

use super::*;

fn receipt(position: i64, user: i64, thread_id: Option<&str>, event: &str) -> EduNews {
    let receipt = NewReceipt {
        room: RoomNid(1),
        user: UserNid(user),
        user_id: format!("@user{user}:test.example").try_into().unwrap(),
        receipt_type: ReceiptType::Read,
        thread_id: thread_id.map(Into::into),
        event_id: event.try_into().unwrap(),
        event_position: None,
        ts: 5,
    };
    let row = ReceiptRow { receipt, position: Position(position) };
    EduNews::Receipt(Arc::new(ReceiptNews { room_id: owned_room_id!("!room:test.example"), row }))
}

fn typing(position: i64, is_typing: bool) -> EduNews {
    EduNews::Typing(Arc::new(TypingNews {
        position: Position(position),
        room: RoomNid(1),
        room_id: owned_room_id!("!room:test.example"),
        user: UserNid(1),
        user_id: owned_user_id!("@user1:test.example"),
        is_typing,
    }))
}

fn presence(position: i64, user: i64, presence: Presence) -> EduNews {
    EduNews::Presence(Arc::new(PresenceRow {
        user: UserNid(user),
        user_id: format!("@user{user}:test.example").try_into().unwrap(),
        presence,
        status_msg: None,
        last_active_at: 1_000,
        currently_active: false,
        position: Position(position),
    }))
}

fn stored(position: i64, ordinal: i32, size: usize) -> EduNews {
    EduNews::Stored(Arc::new(OutgoingEdu {
        destination: "b.example".to_owned(),
        place: EduPlace { position: Position(position), ordinal },
        edu_type: "m.direct_to_device".to_owned(),
        content: json!({ "padding": "x".repeat(size) }).to_string(),
    }))
}

fn taken(queue: &mut EduQueue) -> (Vec<Value>, TakenEdus) {
    let mut builder = Builder::new(0);
    let taken = queue.take(&mut builder, 4_000);
    let edus = builder.finish();
    (edus.edus.iter().map(|edu| serde_json::from_str(edu).unwrap()).collect(), taken)
}

#[test]
fn only_the_newest_of_what_is_overtaken_is_sent() {
    let mut queue = EduQueue::default();
    queue.push(&typing(1, true));
    queue.push(&typing(2, false));
    queue.push(&presence(3, 1, Presence::Online));
    queue.push(&presence(4, 2, Presence::Online));
    queue.push(&presence(5, 1, Presence::Unavailable));
    queue.push(&receipt(6, 1, None, "$one"));
    queue.push(&receipt(7, 1, None, "$two"));

    let (edus, _) = taken(&mut queue);

    let update = |user: &str, presence: &str| {
        json!({
            "user_id": user, "presence": presence, "last_active_ago": 3_000, "currently_active": false,
        })
    };
    assert_eq!(
        edus,
        [
            json!({ "edu_type": "m.receipt", "content": { "!room:test.example": { "m.read": {
                "@user1:test.example": { "event_ids": ["$two"], "data": { "ts": 5 } },
            } } } }),
            json!({ "edu_type": "m.typing", "content": {
                "room_id": "!room:test.example", "user_id": "@user1:test.example", "typing": false,
            } }),
            json!({ "edu_type": "m.presence", "content": { "push": [
                update("@user1:test.example", "unavailable"),
                update("@user2:test.example", "online"),
            ] } }),
        ]
    );
    assert!(queue.is_empty());
}

#[test]
fn receipts_of_a_user_for_several_threads_go_into_several_edus() {
    let mut queue = EduQueue::default();
    queue.push(&receipt(1, 1, None, "$one"));
    queue.push(&receipt(2, 1, Some("main"), "$two"));
    queue.push(&receipt(3, 2, None, "$three"));

    let (edus, _) = taken(&mut queue);

    let users = |edu: &Value| {
        let users = edu["content"]["!room:test.example"]["m.read"].as_object().unwrap();
        users.iter().map(|(user, receipt)| (user.clone(), receipt["data"]["thread_id"].clone())).collect()
    };
    let told: Vec<Vec<(String, Value)>> = edus.iter().map(users).collect();
    let user = |number: i64| format!("@user{number}:test.example");
    assert_eq!(
        told,
        [vec![(user(1), Value::Null), (user(2), Value::Null)], vec![(user(1), Value::from("main"))]]
    );
}

#[test]
fn receipts_that_find_no_place_are_sent_next() {
    let mut queue = EduQueue::default();
    let count = MAX_EDUS as i64 + 20;
    for number in 1..=count {
        // Those that come first in the queue are the newest.
        let thread = format!("$thread{number:03}");
        assert!(queue.push(&receipt(count + 1 - number, 1, Some(&thread), "$one")));
    }
    assert!(queue.push(&receipt(500, 2, None, "$two")));
    let threads = |edus: &[Value]| -> Vec<String> {
        let of = |edu: &Value| {
            let user = &edu["content"]["!room:test.example"]["m.read"]["@user1:test.example"];
            user["data"]["thread_id"].as_str().map(ToOwned::to_owned)
        };
        edus.iter().filter_map(of).collect()
    };

    let (edus, first) = taken(&mut queue);
    assert_eq!((edus.len(), first.oldest), (MAX_EDUS, Some(Position(21))));
    assert_eq!((queue.len(), queue.oldest()), (20, Some(Position(1))));
    let mut told = threads(&edus);
    let (edus, second) = taken(&mut queue);
    assert_eq!((edus.len(), second.oldest), (20, Some(Position(1))));
    told.extend(threads(&edus));

    assert!(queue.is_empty());
    let expected: Vec<String> = (1..=count).map(|number| format!("$thread{number:03}")).collect();
    assert_eq!(told, expected);
}

#[test]
fn a_transaction_has_a_hundred_edus_and_says_up_to_where() {
    let mut queue = EduQueue::default();
    for ordinal in 1..=120 {
        assert!(queue.push(&stored(7, ordinal, 0)));
    }

    let (edus, first) = taken(&mut queue);
    assert_eq!(edus.len(), MAX_EDUS);
    assert_eq!(first.oldest, Some(Position(7)));
    assert_eq!(first.stored_up_to, Some(EduPlace { position: Position(7), ordinal: 100 }));
    let (edus, second) = taken(&mut queue);
    assert_eq!(edus.len(), 20);
    assert_eq!(second.stored_up_to, Some(EduPlace { position: Position(7), ordinal: 120 }));
}

#[test]
fn a_transaction_does_not_grow_without_bound() {
    let mut queue = EduQueue::default();
    for ordinal in 1..=40 {
        queue.push(&stored(7, ordinal, 60_000));
    }

    let (edus, _) = taken(&mut queue);

    assert_eq!(edus.len(), MAX_EDU_BYTES / 60_000);
}

#[test]
fn what_must_not_be_lost_has_bounds_and_what_passes_is_dropped() {
    let mut queue = EduQueue::default();
    for user in 0..2_000 {
        assert!(queue.push(&presence(1, user, Presence::Online)));
    }
    assert_eq!(queue.len(), MAX_PASSING);

    let pushed = (1..=2_000).take_while(|ordinal| queue.push(&stored(2, *ordinal, 0))).count();
    assert_eq!(pushed, MAX_WAITING);
}

#[test]
fn the_same_content_has_the_same_id_and_what_is_said_again_another() {
    let id = |now_ms: i64, edus: &[EduNews]| {
        let mut queue = EduQueue::default();
        for edu in edus {
            assert!(queue.push(edu));
        }
        let mut builder = Builder::new(now_ms);
        queue.take(&mut builder, now_ms);
        builder.finish().id.clone()
    };

    assert_eq!(id(0, &[receipt(1, 1, None, "$one")]), id(9, &[receipt(1, 1, None, "$one")]));
    assert_ne!(id(0, &[receipt(1, 1, None, "$one")]), id(0, &[receipt(1, 2, None, "$one")]));
    assert_ne!(id(0, &[receipt(1, 1, None, "$one")]), id(0, &[typing(1, true)]));
    assert_ne!(id(0, &[typing(1, true)]), id(0, &[typing(3, true)]));
    // While nothing happens the log stays where it is, and so does the mark.
    assert_ne!(id(0, &[typing(1, true)]), id(25_000, &[typing(1, true)]));
    let (one, other) = (presence(1, 1, Presence::Online), presence(1, 2, Presence::Online));
    assert_ne!(id(0, std::slice::from_ref(&one)), id(0, &[other]));
    assert_ne!(id(0, std::slice::from_ref(&one)), id(1_500_000, &[one]));
}
