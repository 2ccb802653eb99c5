module example.com/gocaller

go 1.21
