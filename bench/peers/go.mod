module original

go 1.21
