-- Which threads a user wants to hear of (MSC4306).

CREATE TABLE thread_subscriptions (
    user_nid BIGINT NOT NULL,
    room_nid BIGINT NOT NULL,
    root_id TEXT NOT NULL,
    is_subscribed BOOLEAN NOT NULL,
    is_automatic BOOLEAN NOT NULL,
    stream_position BIGINT NOT NULL,
    PRIMARY KEY (user_nid, room_nid, root_id)
);
COMMENT ON TABLE thread_subscriptions IS 'Subscriptions and their ends. A row without a subscription says up to where its end was meant.';
COMMENT ON COLUMN thread_subscriptions.root_id IS 'The event that the thread hangs on.';
COMMENT ON COLUMN thread_subscriptions.is_automatic IS 'Whether a client subscribed by itself, because of a mention.';
CREATE INDEX thread_subscriptions_by_position ON thread_subscriptions (user_nid, stream_position);
