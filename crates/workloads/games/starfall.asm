; Starfall: catch the stars, avoid the bombs. 128x64 pixels.
.title "Starfall"
.about "Catch stars and hearts in the basket, let bombs pass. Left and right."
.speed 300

basket = v4         ; x of its left end
stars = v5          ; caught
lives = v6
object = v7         ; offset in the table
x = v8
y = v9
delay = va          ; frames until it appears
kind = vb           ; 0 star, 1 bomb, 2 heart
ticks = vc
mask = vd           ; objects move when ticks and mask have no bit in common

basket_y = 54

    high
start:
    cls
    ld stars, 0
    ld lives, 5
    ld ticks, 0
    ld mask, 3
    ld basket, 56
    call draw_scene
    call draw_stars
    call draw_lives
    call draw_basket
    ld object, 0
first:
    call spawn
    ld v0, object       ; one after the other
    shl v0
    shl v0
    shl v0
    add delay, v0
    call put
    add object, 4
    se object, 16
    jp first

play:
    call frame
    add ticks, 1
    call move_basket
    ld object, 0
each:
    call get
    call fall
    call put
    sne lives, 0
    jp lost
    add object, 4
    se object, 16
    jp each
    jp play

lost:
    call fall_away
    ld v0, 60
    ld v1, 20
    ld v2, stars
    call draw_number
    ld i, star
    ld v0, 46
    ld v1, 18
    drw v0, v1, 8
    call the_end
    jp start

; One object, one frame.
fall:
    sne delay, 0
    jp falling
    add delay, -1
    sne delay, 0
    jp draw_object      ; it appears
    ret
falling:
    ld v0, ticks
    and v0, mask
    se v0, 0
    ret
    call draw_object
    add y, 1
    ld v0, y            ; low enough for the basket?
    add v0, 0 - basket_y + 6
    ld v1, 7
    sub v1, v0
    se vf, 1
    jp missed_yet
    ld v0, x            ; its middle above the basket?
    add v0, 4
    sub v0, basket
    ld v1, 16
    sub v1, v0
    se vf, 0
    jp caught
missed_yet:
    se y, 56
    jp draw_object
    se kind, 0
    jp spawn            ; a missed bomb costs nothing
    call lose_life
    jp spawn

caught:
    sne kind, 1
    jp exploded
    sne kind, 2
    jp healed
    call beep
    call draw_stars
    add stars, 1
    call draw_stars
    sne stars, 10       ; the objects fall faster
    ld mask, 1
    sne stars, 40
    ld mask, 0
    jp spawn
exploded:
    call lose_life
    jp spawn
healed:
    ld v0, 8
    ld st, v0
    sne lives, 5
    jp spawn
    add lives, 1
    ld v3, lives
    call draw_life
    jp spawn

lose_life:
    ld v0, 12
    ld st, v0
    sne lives, 0
    ret
    ld v3, lives
    add lives, -1
    jp draw_life

; Spawns a new object above the screen.
spawn:
    rnd x, 127
    ld v0, 119
    sub v0, x
    se vf, 1
    jp spawn
    ld y, 9
    rnd delay, 63
    add delay, 10
    ld kind, 0
    rnd v0, 15
    ld v1, 3            ; three of sixteen are bombs, one a heart
    sub v1, v0
    sne vf, 1
    ld kind, 1
    sne v0, 3
    ld kind, 2
    ret

get:
    ld i, objects
    add i, object
    ld v3, [i]
    ld x, v0
    ld y, v1
    ld delay, v2
    ld kind, v3
    ret

put:
    ld v0, x
    ld v1, y
    ld v2, delay
    ld v3, kind
    ld i, objects
    add i, object
    ld [i], v3
    ret

draw_object:
    ld v0, kind
    shl v0
    shl v0
    shl v0
    ld i, star
    add i, v0
    drw x, y, 8
    ret

move_basket:
    ld v1, basket
    ld v0, left
    sknp v0
    add v1, -2
    ld v0, right
    sknp v0
    add v1, 2
    sne v1, basket
    ret
    ld v0, 112
    sub v0, v1
    se vf, 1
    ret
    call draw_basket
    ld basket, v1
draw_basket:            ; keeps v1
    ld v0, basket
    ld v2, basket_y
    ld i, basket_left
    drw v0, v2, 8
    add v0, 8
    ld i, basket_right
    drw v0, v2, 8
    ret

draw_stars:
    ld v0, 2
    ld v1, 1
    ld v2, stars
    jp draw_number

draw_lives:
    ld v3, lives
lives_more:
    call draw_life
    add v3, -1
    se v3, 0
    jp lives_more
    ret

draw_life:              ; number v3, counted from the right
    ld v0, v3
    shl v0
    shl v0
    shl v0
    ld v1, 128
    sub v1, v0
    ld v0, 1
    ld i, life
    drw v1, v0, 6
    ret

draw_scene:
    ld v0, 0
    ld v1, 63
    ld i, ground
ground_more:
    drw v0, v1, 1
    add v0, 8
    se v0, 128
    jp ground_more
    ld v0, 100
    ld v1, 12
    ld i, moon
    drw v0, v1, 0
    ld v3, 16
    ld i, dot
dots_more:
    rnd v0, 127
    rnd v1, 31
    add v1, 9
    drw v0, v1, 1
    add v3, -1
    se v3, 0
    jp dots_more
    ret

star:
    db "...#...."
    db "...#...."
    db "..###..."
    db "#######."
    db ".#####.."
    db "..###..."
    db ".##.##.."
    db ".#...#.."
bomb:
    db ".....##."
    db "....#..#"
    db "..###..."
    db ".#####.."
    db "#.#####."
    db "#.#####."
    db ".#####.."
    db "..###..."
heart:
    db ".##.##.."
    db "#..#..#."
    db "#.....#."
    db "#.....#."
    db ".#...#.."
    db "..#.#..."
    db "...#...."
    db "........"
life:
    db ".##.##.."
    db "#######."
    db "#######."
    db ".#####.."
    db "..###..."
    db "...#...."
basket_left:
    db "##......"
    db "#.######"
    db "########"
    db ".##.#.#."
    db ".#.#.#.#"
    db ".##.#.#."
    db "..#.#.#."
    db "..######"
basket_right:
    db "......##"
    db "######.#"
    db "########"
    db "#.#.#.#."
    db ".#.#.##."
    db "#.#.#.#."
    db "#.#.##.."
    db "######.."
ground:
    db "########"
dot:
    db "#......."
moon:
    db "......####......"
    db "....###........."
    db "...###.........."
    db "..###..........."
    db ".####..........."
    db ".###............"
    db ".###............"
    db ".###............"
    db ".###............"
    db ".####..........."
    db ".####..........."
    db "..####.......#.."
    db "..######...##..."
    db "....#########..."
    db ".....######....."
    db "................"
objects:
    ds 16
