module gearmesh/storesoracle

go 1.21

require (
	gearmesh/oracle v0.0.0
	go.mongodb.org/mongo-driver v1.17.9
)

replace gearmesh/oracle => ../
