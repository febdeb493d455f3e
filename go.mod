module github.com/wherry-net/wherry

go 1.26
