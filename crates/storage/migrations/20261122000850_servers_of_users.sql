-- Which server a user belongs to, for questions about servers: whether one is in a room, and who of it was.
ALTER TABLE users ADD COLUMN server_name TEXT
    GENERATED ALWAYS AS (substr(user_id, strpos(user_id, ':') + 1)) STORED;
CREATE INDEX users_by_server ON users (server_name);
