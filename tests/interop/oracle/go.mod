module gearmesh/oracle

go 1.21
