; Snake: eat apples, grow, do not bite walls or yourself. 128x64 pixels, in cells of 4x4.
.title "Snake"
.about "Eat and grow. Any arrow starts; walls and your own tail hurt."
.speed 200

x = v4              ; the head, in cells
y = v5
turn = v6           ; direction: 0 up, 1 right, 2 down, 3 left
last = v7           ; direction of the last step
head = v8           ; offset of the head in the ring of 128 cells
tail = v9
apple_x = va
apple_y = vb
apples = vc         ; eaten
grow = vd           ; cells still to grow
pace = ve           ; frames per step

    high
start:
    cls
    ld apples, 0
    call draw_apples
    call draw_walls
    ld x, 10
    ld y, 8
    ld turn, 1
    ld last, 1
    ld head, 0
    ld tail, 0
    ld grow, 4
    ld pace, 8
    call put_head
    call place_apple

ready:                  ; waits for the first key, except the one that turns back
    ld v0, up
    sknp v0
    jp step
    ld v0, right
    sknp v0
    jp step
    ld v0, down
    sknp v0
    jp step
    jp ready

step:
    ld dt, pace
wait:
    call steer
    ld v0, dt
    se v0, 0
    jp wait

    ld last, turn
    ld i, moves_x
    add i, turn
    ld v0, [i]
    add x, v0
    ld i, moves_y
    add i, turn
    ld v0, [i]
    add y, v0
    se grow, 0
    jp longer
    call drop_tail
    jp advance
longer:
    add grow, -1
advance:
    add head, 2
    call put_head
    sne vf, 0
    jp step             ; the cell was empty
    se x, apple_x
    jp bitten
    se y, apple_y
    jp bitten

    ld v0, apple_x      ; the head covers the apple: flip its pixels again
    ld v1, apple_y
    ld i, apple
    call draw_cell
    call draw_apples
    add apples, 1
    call draw_apples
    ld v0, 58           ; the ring is nearly full then
    sub v0, apples
    se vf, 0
    add grow, 2
    ld v0, 3            ; faster with every fourth apple
    and v0, apples
    sne v0, 0
    call faster
    call beep
    call place_apple
    jp step

faster:
    se pace, 3
    add pace, -1
    ret

bitten:
    call fall_away
    ld v0, 56
    ld v1, 20
    ld v2, apples
    call draw_number
    ld v0, 46
    ld v1, 20
    ld i, apple
    drw v0, v1, 4
    call the_end
    jp start

steer:
    ld v1, turn
    ld v0, up
    sknp v0
    ld v1, 0
    ld v0, right
    sknp v0
    ld v1, 1
    ld v0, down
    sknp v0
    ld v1, 2
    ld v0, left
    sknp v0
    ld v1, 3
    ld v0, v1
    xor v0, last
    se v0, 2            ; it cannot turn back
    ld turn, v1
    ret

put_head:
    ld i, ring
    add i, head
    ld v0, x
    ld v1, y
    ld [i], v1
    ld i, segment
draw_cell:              ; draws the sprite at I in cell v0, v1
    shl v0
    shl v0
    shl v1
    shl v1
    drw v0, v1, 4
    ret

drop_tail:
    ld i, ring
    add i, tail
    ld v1, [i]
    add tail, 2
    ld i, segment
    jp draw_cell

place_apple:
    rnd apple_x, 31
    rnd apple_y, 15
    ld v0, 2
    sub v0, apple_y
    se vf, 0
    jp place_apple      ; above the field
    call draw_apple
    sne vf, 0
    ret
    call draw_apple     ; the cell is occupied
    jp place_apple
draw_apple:
    ld v0, apple_x
    ld v1, apple_y
    ld i, apple
    jp draw_cell

draw_apples:
    ld v0, 2
    ld v1, 1
    ld v2, apples
    jp draw_number

draw_walls:
    ld v2, 0
wall_across:
    ld v3, 2
    call draw_wall
    ld v3, 15
    call draw_wall
    add v2, 1
    se v2, 32
    jp wall_across
    ld v3, 3
wall_along:
    ld v2, 0
    call draw_wall
    ld v2, 31
    call draw_wall
    add v3, 1
    se v3, 15
    jp wall_along
    ret
draw_wall:
    ld v0, v2
    ld v1, v3
    ld i, stone
    jp draw_cell

segment:
    db ".##....."
    db "####...."
    db "####...."
    db ".##....."
apple:
    db "..#....."
    db "####...."
    db "####...."
    db ".##....."
stone:
    db "###....."
    db "###....."
    db "###....."
    db "........"
moves_x:
    db 0, 1, 0, -1
moves_y:
    db -1, 0, 1, 0
ring:
    ds 256
