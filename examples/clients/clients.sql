-- The data of this site, for SQLite and PostgreSQL:  ./make-db   or   psql -d clients -f clients.sql
CREATE TABLE clients (
	id INTEGER PRIMARY KEY,
	name VARCHAR(80) NOT NULL,
	email VARCHAR(254) NOT NULL UNIQUE CHECK (email = LOWER(email)),
	joined DATE NOT NULL
);
CREATE TABLE bookings (
	id INTEGER PRIMARY KEY,
	client INTEGER NOT NULL REFERENCES clients (id),
	day DATE NOT NULL,
	what VARCHAR(80) NOT NULL
);
CREATE INDEX bookings_client ON bookings (client);

INSERT INTO clients (id, name, email, joined) VALUES
	(1, 'Tessa Tester', 'test@example.com', '2021-03-14'),
	(2, 'Łukasz Żak', 'lukasz@example.com', '2022-11-02'),
	(3, 'Seán O''Brien', 'sean.obrien@example.com', '2023-06-30'),
	(4, '山田 花子', 'hanako@example.com', '2024-01-01'),
	(5, 'Nora Neu', 'nora@example.com', '2025-12-24'); -- she has not booked anything yet

INSERT INTO bookings (id, client, day, what) VALUES
	(1, 1, '2021-04-01', 'Canoe for two'),
	(2, 1, '2022-07-15', 'Canoe for two'),
	(3, 1, '2024-08-09', 'Rowing course'),
	(4, 2, '2023-05-20', 'Kayak'),
	(5, 3, '2023-07-01', 'Raft'),
	(6, 3, '2023-07-02', 'Raft'),
	(7, 4, '2024-05-05', 'Kayak');

-- And 245 more, so that there are pages to turn.
INSERT INTO clients (id, name, email, joined)
	WITH RECURSIVE numbers (n) AS (SELECT 6 UNION ALL SELECT n + 1 FROM numbers WHERE n < 250)
	SELECT n, 'Client ' || n, 'client' || n || '@example.com', '2020-02-29' FROM numbers;
