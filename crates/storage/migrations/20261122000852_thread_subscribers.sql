-- Who is told of a message in a thread.
CREATE INDEX thread_subscriptions_by_thread ON thread_subscriptions (room_nid, root_id) WHERE is_subscribed;
