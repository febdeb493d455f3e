-- A dissector of wherry's reliable UDP for Wireshark and tshark.
--
--   wherry lab dissector > wherry.lua
--   wireshark -X lua_script:wherry.lua capture.pcapng
--
-- or put it into the directory of personal Lua plugins (Help, About, Folders).
-- The protocol has no port of its own: it is found on any by its first bytes and
-- its CRC-32C. Filters: wherry.number == 17, wherry.ack.largest > 100,
-- wherry.frame == 1. What the data hold is TLS, or plain in labs.

local wherry = Proto("wherry", "wherry reliable UDP")

local packet_types = { [0] = "DATA", [1] = "INIT", [2] = "RETRY", [3] = "OPEN", [4] = "VERSION", [5] = "RESET" }
local frame_types = {
	[0] = "PAD", [1] = "DATA", [2] = "ACK", [3] = "WINDOW", [4] = "PING", [5] = "CHALLENGE",
	[6] = "RESPONSE", [7] = "SENDER", [8] = "CLOSE", [9] = "DATAGRAM",
}
local protocols = { [0] = "model", [1] = "stop-and-wait", [2] = "go-back-n", [3] = "selective-repeat", [4] = "none" }
local forms = { [0] = "ranges", [1] = "bitmap" }
local kinds = { [0] = "protocol", [1] = "application" }
local codes = {
	[0] = "finished in good order", [1] = "data beyond the window", [2] = "the end of the stream moved",
	[3] = "acknowledged what was never sent", [4] = "malformed packet", [5] = "internal error",
	[6] = "closed before the end of the stream", [7] = "the ends run different protocols",
}

-- name, title, type, display or value strings
local f = {}
local function field(name, title, kind, ...)
	f[name] = ProtoField[kind]("wherry." .. name, title, ...)
end
field("magic", "Magic", "uint8", base.HEX)
field("version", "Version", "uint8", base.DEC)
field("type", "Type", "uint8", base.DEC, packet_types)
field("flags", "Flags", "uint8", base.HEX)
field("checksum", "Checksum (CRC-32C)", "uint32", base.HEX)
field("dest", "Destination connection ID", "uint64", base.HEX)
field("source", "Source connection ID", "uint64", base.HEX)
field("number", "Packet number", "uint64", base.DEC)
field("param.window", "First window (bytes)", "uint64", base.DEC)
field("param.max_datagram", "Largest datagram", "uint32", base.DEC)
field("param.idle_timeout", "Idle timeout (ms)", "uint32", base.DEC)
field("param.arq", "Protocol", "uint8", base.DEC, protocols)
field("param.zero", "Reserved", "uint8", base.DEC)
field("param.frames", "Window (frames)", "uint16", base.DEC)
field("cookie.length", "Cookie length", "uint16", base.DEC)
field("cookie", "Cookie", "bytes")
field("clock", "Clock (µs)", "uint32", base.DEC)
field("reset_token", "Reset token", "bytes")
field("supported_version", "Supported version", "uint8", base.DEC)
field("padding", "Padding", "bytes")
field("frame", "Frame", "uint8", base.DEC, frame_types)
field("data.flags", "Flags (1: FIN)", "uint8", base.HEX)
field("data.length", "Length", "uint16", base.DEC)
field("data.offset", "Offset in the stream", "uint64", base.DEC)
field("data", "Data", "bytes")
field("ack.form", "Form", "uint8", base.DEC, forms)
field("ack.count", "Ranges, or bytes of bitmap", "uint16", base.DEC)
field("ack.largest", "Largest", "uint64", base.DEC)
field("ack.delay", "Delay (µs)", "uint32", base.DEC)
field("ack.clock", "Receiver's clock (µs)", "uint32", base.DEC)
field("ack.ect", "ECT packets", "uint32", base.DEC)
field("ack.ce", "CE packets", "uint32", base.DEC)
field("ack.gap", "Gap", "uint16", base.DEC)
field("ack.run", "Run", "uint16", base.DEC)
field("ack.bitmap", "Bitmap", "bytes")
field("ack.range", "Acknowledged", "string")
field("window.limit", "Limit", "uint64", base.DEC)
field("challenge", "Token", "uint64", base.HEX)
field("response", "Token", "uint64", base.HEX)
field("sender.floor", "Floor", "uint64", base.DEC)
field("sender.every", "ACK every n packets", "uint16", base.DEC)
field("sender.delay", "ACK after (µs)", "uint32", base.DEC)
field("close.kind", "Kind", "uint8", base.DEC, kinds)
field("close.length", "Length", "uint16", base.DEC)
field("close.code", "Code", "uint32", base.DEC)
field("close.reason", "Reason", "string")
field("datagram.number", "Number", "uint64", base.DEC)
field("datagram.clock", "Sender's clock (µs)", "uint64", base.DEC)
field("datagram.length", "Length", "uint16", base.DEC)
field("datagram", "Data", "bytes")

local list = {}
for _, v in pairs(f) do
	list[#list + 1] = v
end
wherry.fields = list

local malformed = ProtoExpert.new("wherry.malformed", "Malformed wherry packet", expert.group.MALFORMED, expert.severity.ERROR)
local bad_checksum = ProtoExpert.new("wherry.bad_checksum", "Bad CRC-32C: corrupted on the way, and dropped", expert.group.CHECKSUM, expert.severity.WARN)
wherry.experts = { malformed, bad_checksum }

local HEADER = 24
local MAX = UInt64(0, 0x40000000) -- 2^62: numbers and offsets end there

-- CRC-32C (RFC 3720) over all but the checksum, bytes 4 to 7.
local band, bxor, rshift = bit.band, bit.bxor, bit.rshift
local crc_table = {}
for i = 0, 255 do
	local c = i
	for _ = 1, 8 do
		if band(c, 1) == 1 then
			c = bxor(rshift(c, 1), 0x82f63b78)
		else
			c = rshift(c, 1)
		end
	end
	crc_table[i] = c
end

local function checksum_ok(tvb)
	local s = tvb:raw(0, tvb:len())
	local c = 0xffffffff
	local byte = string.byte
	for i = 1, #s do
		if i < 5 or i > 8 then
			c = bxor(rshift(c, 8), crc_table[band(bxor(c, byte(s, i)), 0xff)])
		end
	end
	return band(bxor(c, 0xffffffff), 0xffffffff) == band(tvb(4, 4):uint(), 0xffffffff)
end

-- A reader walks through the packet and adds what it takes to a tree. It stops
-- with error("truncated") where there is less than wanted; see protected.
local function reader(tvb, at)
	local r = { tvb = tvb, at = at }
	function r.left() return tvb:len() - r.at end
	function r.need(n)
		if r.left() < n then
			error("truncated", 0)
		end
	end
	function r.peek(off, n)
		r.need(off + n)
		return tvb(r.at + off, n)
	end
	function r.add(tree, name, n)
		r.need(n)
		local range = tvb(r.at, n)
		local item = tree:add(f[name], range)
		r.at = r.at + n
		return range, item
	end
	function r.bytes(tree, name, n)
		if n > 0 then
			r.add(tree, name, n)
		end
	end
	return r
end

local function bad()
	error("malformed", 0)
end

-- Acknowledged numbers, from the largest down: runs and gaps in turn.
local function spans(largest, runs)
	local one, zero = UInt64(1), UInt64(0)
	local cur = largest + one -- one above the next to be told of
	local out = {}
	for _, p in ipairs(runs) do
		local gap, run = UInt64(p[1]), UInt64(p[2])
		if gap + run > cur or p[1] == 0 and p[2] == 0 and #out == 0 then
			return nil
		end
		cur = cur - gap
		if p[2] > 0 then
			local lo = cur - run
			if #out > 0 and out[#out][1] == cur then
				out[#out][1] = lo
			else
				out[#out + 1] = { lo, cur }
			end
			cur = lo
		end
	end
	if #out == 0 or out[1][2] ~= largest + one then
		return nil
	end
	return out
end

local function show_spans(tree, found)
	if not found then
		bad()
	end
	for _, s in ipairs(found) do
		local text = tostring(s[1]) .. "-" .. tostring(s[2] - UInt64(1))
		tree:add(f["ack.range"], text):set_generated()
	end
end

local frames = {}

frames[0] = function(r, tree) -- PAD
	local n = r.left()
	local s = r.tvb:raw(r.at, n)
	if s:find("[^%z]") then
		bad()
	end
	return n, function()
		r.add(tree, "frame", 1)
		r.bytes(tree, "padding", n - 1)
	end
end

frames[1] = function(r, tree) -- DATA
	local flags, n, offset = r.peek(1, 1):uint(), r.peek(2, 2):uint(), r.peek(4, 8):uint64()
	if flags > 1 or offset > MAX or n == 0 and flags == 0 then
		bad()
	end
	r.need(12 + n)
	return 12 + n, function()
		r.add(tree, "frame", 1)
		r.add(tree, "data.flags", 1)
		r.add(tree, "data.length", 2)
		r.add(tree, "data.offset", 8)
		r.bytes(tree, "data", n)
		tree:append_text(" offset " .. tostring(offset) .. ", " .. n .. " bytes" .. (flags == 1 and ", FIN" or ""))
		return "DATA " .. tostring(offset) .. "+" .. n .. (flags == 1 and " FIN" or "")
	end
end

frames[2] = function(r, tree) -- ACK
	r.need(28)
	local form, n, largest = r.peek(1, 1):uint(), r.peek(2, 2):uint(), r.peek(4, 8):uint64()
	if form > 1 or largest > MAX or form == 0 and n == 0 then
		bad()
	end
	local size = form == 0 and 4 * n or n
	r.need(28 + size)
	return 28 + size, function()
		r.add(tree, "frame", 1)
		r.add(tree, "ack.form", 1)
		r.add(tree, "ack.count", 2)
		r.add(tree, "ack.largest", 8)
		r.add(tree, "ack.delay", 4)
		r.add(tree, "ack.clock", 4)
		r.add(tree, "ack.ect", 4)
		r.add(tree, "ack.ce", 4)
		local runs = {}
		local valid = true
		if form == 0 then
			for _ = 1, n do
				local gap = r.add(tree, "ack.gap", 2):uint()
				local run = r.add(tree, "ack.run", 2):uint()
				runs[#runs + 1] = { gap, run }
			end
		else
			local map = n > 0 and r.tvb:raw(r.at, n) or ""
			r.bytes(tree, "ack.bitmap", n)
			-- Bits that stand for numbers below 0 must not be set.
			local below = largest + UInt64(1)
			local gap, run = 0, 0
			for i = 1, #map do
				local x = map:byte(i)
				for k = 7, 0, -1 do
					local set = band(rshift(x, k), 1) == 1
					if set and below == UInt64(0) then
						valid = false
					end
					if below > UInt64(0) then
						below = below - UInt64(1)
					end
					if set then
						run = run + 1
					elseif run > 0 then
						runs[#runs + 1] = { gap, run }
						gap, run = 1, 0
					else
						gap = gap + 1
					end
				end
			end
			if run > 0 then
				runs[#runs + 1] = { gap, run }
			end
		end
		show_spans(tree, valid and spans(largest, runs) or nil)
		tree:append_text(" up to " .. tostring(largest))
		return "ACK " .. tostring(largest)
	end
end

frames[3] = function(r, tree) -- WINDOW
	local limit = r.peek(1, 8):uint64()
	if limit > MAX then
		bad()
	end
	return 9, function()
		r.add(tree, "frame", 1)
		r.add(tree, "window.limit", 8)
		tree:append_text(" limit " .. tostring(limit))
		return "WINDOW " .. tostring(limit)
	end
end

frames[4] = function(r, tree) -- PING
	return 1, function()
		r.add(tree, "frame", 1)
	end
end

local function token(name)
	return function(r, tree)
		r.need(9)
		return 9, function()
			r.add(tree, "frame", 1)
			r.add(tree, name, 8)
		end
	end
end
frames[5] = token("challenge")
frames[6] = token("response")

frames[7] = function(r, tree) -- SENDER
	r.need(15)
	local floor, every = r.peek(1, 8):uint64(), r.peek(9, 2):uint()
	if floor > MAX or every == 0 then
		bad()
	end
	return 15, function()
		r.add(tree, "frame", 1)
		r.add(tree, "sender.floor", 8)
		r.add(tree, "sender.every", 2)
		r.add(tree, "sender.delay", 4)
		tree:append_text(" floor " .. tostring(floor) .. ", ACK every " .. every)
	end
end

frames[8] = function(r, tree) -- CLOSE
	r.need(8)
	local kind, n, code = r.peek(1, 1):uint(), r.peek(2, 2):uint(), r.peek(4, 4):uint()
	if kind > 1 or n > 256 then
		bad()
	end
	r.need(8 + n)
	return 8 + n, function()
		r.add(tree, "frame", 1)
		r.add(tree, "close.kind", 1)
		r.add(tree, "close.length", 2)
		local _, item = r.add(tree, "close.code", 4)
		if kind == 0 and codes[code] then
			item:append_text(" (" .. codes[code] .. ")")
		end
		if n > 0 then
			tree:add_packet_field(f["close.reason"], r.tvb(r.at, n), ENC_UTF_8)
			r.at = r.at + n
		end
		return "CLOSE " .. code
	end
end

frames[9] = function(r, tree) -- DATAGRAM
	r.need(19)
	local number, clock, n = r.peek(1, 8):uint64(), r.peek(9, 8):uint64(), r.peek(17, 2):uint()
	if number == UInt64(0) or number > MAX or clock > MAX then
		bad()
	end
	r.need(19 + n)
	return 19 + n, function()
		r.add(tree, "frame", 1)
		r.add(tree, "datagram.number", 8)
		r.add(tree, "datagram.clock", 8)
		r.add(tree, "datagram.length", 2)
		r.bytes(tree, "datagram", n)
		tree:append_text(" " .. tostring(number) .. ", " .. n .. " bytes")
		return "DATAGRAM " .. tostring(number)
	end
end

-- frame takes one frame apart and returns what it is for the Info column.
local function frame(r, tree)
	local typ = r.peek(0, 1):uint()
	if not frames[typ] then
		bad()
	end
	-- First check, then show: a frame that makes no sense shows nothing.
	local start = r.at
	local sub = tree
	local size, show = frames[typ](r, { add = function(_, ...) return sub:add(...) end, append_text = function(_, s) sub:append_text(s) end,
		add_packet_field = function(_, ...) return sub:add_packet_field(...) end })
	sub = tree:add(wherry, r.tvb(start, size), frame_types[typ])
	local info = show()
	return info or frame_types[typ]
end

local function parameters(r, tree)
	local window, max, zero = r.peek(0, 8):uint64(), r.peek(8, 4):uint(), r.peek(17, 1):uint()
	r.need(20)
	if window > MAX or max < 1200 or zero ~= 0 then
		bad()
	end
	r.add(tree, "param.window", 8)
	r.add(tree, "param.max_datagram", 4)
	r.add(tree, "param.idle_timeout", 4)
	r.add(tree, "param.arq", 1)
	r.add(tree, "param.zero", 1)
	r.add(tree, "param.frames", 2)
end

local function cookie(r, tree)
	local n = r.peek(0, 2):uint()
	if n > 64 then
		bad()
	end
	r.need(2 + n)
	r.add(tree, "cookie.length", 2)
	r.bytes(tree, "cookie", n)
end

local function grant(r, tree)
	local window, max, zero, n = r.peek(0, 8):uint64(), r.peek(8, 4):uint(), r.peek(17, 1):uint(), r.peek(40, 2):uint()
	if window > MAX or max < 1200 or zero ~= 0 or n == 0 or n > 64 or r.left() ~= 42 + n then
		bad()
	end
	parameters(r, tree)
	r.add(tree, "reset_token", 16)
	r.add(tree, "clock", 4)
	cookie(r, tree)
end

-- What an OPEN has before its frames.
local function opening(r, tree)
	local window, max, zero, n = r.peek(8, 8):uint64(), r.peek(16, 4):uint(), r.peek(25, 1):uint(), r.peek(28, 2):uint()
	r.need(30 + n)
	if window > MAX or max < 1200 or zero ~= 0 or n > 64 or r.peek(0, 8):uint64() == UInt64(0) then
		bad()
	end
	r.add(tree, "source", 8)
	parameters(r, tree)
	cookie(r, tree)
end

local function reset_token(r, tree)
	if r.left() ~= 16 then
		bad()
	end
	r.add(tree, "reset_token", 16)
end

local bodies = {
	[1] = function(r, tree)
		r.need(24)
		parameters(r, tree)
		r.add(tree, "clock", 4)
		r.bytes(tree, "padding", r.left())
	end,
	[2] = grant,
	[4] = function(r, tree) while r.left() > 0 do r.add(tree, "supported_version", 1) end end,
	[5] = reset_token,
}

local function looks_right(tvb)
	return tvb:len() >= HEADER and tvb(0, 1):uint() == 0x57 and tvb(1, 1):uint() == 2 and tvb(2, 1):uint() <= 5
end

function wherry.dissector(tvb, pinfo, root)
	if not looks_right(tvb) then
		return 0
	end
	pinfo.cols.protocol = "wherry"
	local tree = root:add(wherry, tvb())
	local r = reader(tvb, 0)
	local typ = tvb(2, 1):uint()
	r.add(tree, "magic", 1)
	r.add(tree, "version", 1)
	r.add(tree, "type", 1)
	r.add(tree, "flags", 1)
	local _, sum = r.add(tree, "checksum", 4)
	r.add(tree, "dest", 8)
	local whole = checksum_ok(tvb)
	if not whole then
		sum:add_proto_expert_info(bad_checksum)
	end
	local info = { packet_types[typ] }
	if typ == 0 or typ == 3 then
		local number = r.add(tree, "number", 8):uint64()
		info[1] = (typ == 3 and "OPEN #" or "#") .. tostring(number)
		tree:append_text(", packet " .. tostring(number))
	else
		r.add(tree, "source", 8)
	end
	local good = pcall(function()
		if bodies[typ] then
			bodies[typ](r, tree)
			return
		end
		if typ == 3 then
			opening(r, tree)
		end
		while r.left() > 0 do
			info[#info + 1] = frame(r, tree)
		end
	end)
	if not whole then
		info[#info + 1] = "[bad checksum]"
	elseif not good then
		tree:add_proto_expert_info(malformed)
		info[#info + 1] = "[malformed]"
	end
	pinfo.cols.info = table.concat(info, " ")
	return tvb:len()
end

wherry:register_heuristic("udp", function(tvb, pinfo, root)
	if not looks_right(tvb) or not checksum_ok(tvb) then
		return false
	end
	wherry.dissector(tvb, pinfo, root)
	pinfo.conversation = wherry -- corrupted packets are shown as such from now on
	return true
end)
DissectorTable.get("udp.port"):add_for_decode_as(wherry)
